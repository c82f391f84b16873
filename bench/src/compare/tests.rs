use bulkhead_reports::schema::OperationSample;
use rand::RngExt;

use super::*;

/// The statistics do not read the host: any results file will do.
fn results() -> Results {
    let text = include_str!("../../../reports/tests/fixtures/v1/results.json");
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(path.path(), text).unwrap();
    bulkhead_reports::load(path.path()).unwrap()
}

/// Results with `operations` samples of one container, each `factor` times as
/// slow as planned, with noise of a few per cent.
fn planted(factors: &[f64], seed: u64) -> Results {
    let mut generator = Generator::seed_from_u64(seed);
    let mut results = results();
    results.fits.clear();
    let template = results.cells.iter().find(|c| c.workload == "syscalls").unwrap().clone();
    (results.syscalls, results.cells) = (Vec::new(), Vec::new());
    for (index, factor) in factors.iter().enumerate() {
        let operation = format!("operation {index}");
        results.syscalls.extend((0..30).map(|block| OperationSample {
            runtime: "container".to_owned(),
            block,
            operation: operation.clone(),
            iterations: 1,
            ns_per_operation: 1000.0 * factor * generator.random_range(0.97..1.03),
        }));
        let cell =
            Cell { metric: operation, runtime: "container".to_owned(), ..template.clone() };
        results.cells.push(cell);
    }
    results
}

fn between(before: &Results, after: &Results) -> Comparison {
    let named = |name, results| Named { name, results };
    compare(named("a", before), named("b", after))
}

#[test]
fn a_file_does_not_differ_from_itself() {
    let results = results();
    let comparison = between(&results, &results);
    assert!(comparison.changes.len() > 20, "{}", comparison.changes.len());
    assert!(comparison.changed().is_empty(), "{:?}", comparison.changed());
    assert!(!comparison.other_host() && comparison.only_before.is_empty());
}

#[test]
fn a_planted_slowdown_is_found_and_a_planted_nothing_is_not() {
    let same = [1.0; 12];
    let mut slower = same;
    slower[7] = 1.10;
    slower[8] = 0.90;
    let comparison = between(&planted(&same, 1), &planted(&slower, 2));
    let found: Vec<(&str, Verdict)> =
        comparison.changed().iter().map(|c| (c.metric.as_str(), c.verdict)).collect();
    assert_eq!(found, [("operation 8", Verdict::Better), ("operation 7", Verdict::Worse)]);
    let regressions = comparison.regressions(0.05);
    assert_eq!(regressions.len(), 1);
    assert!((regressions[0].worsening() - 0.10).abs() < 0.02, "{:?}", regressions[0]);
    assert!(comparison.regressions(0.15).is_empty());
}

#[test]
fn a_change_below_the_noise_floor_is_none() {
    let before = planted(&[1.0], 3);
    let mut after = planted(&[1.04], 4);
    assert_eq!(between(&before, &after).changed().len(), 1);
    after.noise = vec![NoiseFloor {
        workload: "syscalls".to_owned(),
        metric: "operation 0".to_owned(),
        runtime: "native".to_owned(),
        n: 30,
        ratio: 1.0,
        low: 0.9,
        high: 1.1,
        floor: 0.08,
    }];
    let comparison = between(&before, &after);
    assert!(comparison.changed().is_empty());
    assert!((comparison.changes[0].floor - 0.08).abs() < 1e-12);
}

#[test]
fn too_few_samples_are_said_to_be() {
    let before = planted(&[1.0], 5);
    let mut after = planted(&[2.0], 6);
    after.syscalls.truncate(4);
    assert_eq!(between(&before, &after).changes[0].verdict, Verdict::TooFew);
}

#[test]
fn what_only_one_file_has_is_named() {
    let comparison = between(&planted(&[1.0, 1.0], 7), &planted(&[1.0], 8));
    assert_eq!(comparison.only_before, ["syscalls: operation 1, container"]);
    assert!(comparison.only_after.is_empty());
}

#[test]
fn slopes_change_when_their_intervals_part() {
    let fit = |slope: f64| Fit {
        runtime: "microvm".to_owned(),
        metric: "used_bytes".to_owned(),
        slope,
        slope_low: slope * 0.95,
        slope_high: slope * 1.05,
        intercept: 0.0,
        n: 8,
    };
    let with = |slope| Results { fits: vec![fit(slope)], ..planted(&[], 9) };
    let verdict = |before, after| between(&with(before), &with(after)).changes[0].verdict;
    assert_eq!(verdict(100.0, 105.0), Verdict::NotDistinguishable);
    assert_eq!(verdict(100.0, 120.0), Verdict::Worse);
    assert_eq!(verdict(100.0, 80.0), Verdict::Better);
    assert_eq!(verdict(100.0, -80.0), Verdict::NotDistinguishable);
    assert_eq!(verdict(100.0, f64::NAN), Verdict::TooFew);
}

/// The worked example of Benjamini and Hochberg (1995), section 3.2: at 5 % the
/// four smallest of these fifteen p-values are discoveries.
#[test]
fn adjusted_p_values_are_those_of_the_paper() {
    let raw = [
        0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262,
        0.5719, 0.6528, 0.7590, 1.0000,
    ];
    let found = adjusted(&raw);
    assert_eq!(found.iter().filter(|p| **p <= 0.05).count(), 4);
    assert!((found[0] - 0.0015).abs() < 1e-12 && (found[3] - 0.035_625).abs() < 1e-12);
    let mut reversed = raw;
    reversed.reverse();
    let mut again = adjusted(&reversed);
    again.reverse();
    assert_eq!(again, found);
    assert!(adjusted(&[]).is_empty());
}

proptest::proptest! {
    #[test]
    fn adjusting_never_makes_a_p_value_smaller_or_swaps_two(
        raw in proptest::collection::vec(0.0..=1.0_f64, 0..40)
    ) {
        let found = adjusted(&raw);
        for (i, a) in raw.iter().enumerate() {
            proptest::prop_assert!(found[i] >= *a - 1e-12 && found[i] <= 1.0);
            for (j, b) in raw.iter().enumerate() {
                proptest::prop_assert!(a > b || found[i] <= found[j]);
            }
        }
    }
}
