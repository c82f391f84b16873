//! How the time of a run was spent, and what ended each part of it.

use crate::schema::{Effort, Results, WorkloadEffort};
use crate::units::{Unit, count, elapsed, float, many, number};
use crate::view::{BOOT, DENSITY, SYSCALLS, View};

/// The samples that one workload took, warm-ups included.
pub fn samples(results: &Results, workload: &str) -> usize {
    match workload {
        BOOT => results.boot.len(),
        DENSITY => results.density.len(),
        SYSCALLS => results.syscalls.len(),
        "isolation" => results.attempts.len(),
        other => results.measurements.iter().filter(|m| m.workload == other).count(),
    }
}

/// What ended a workload, in words.
pub fn ended(results: &Results, workload: &WorkloadEffort) -> String {
    let Effort { exact_blocks, time_budget_seconds, .. } = &results.effort;
    match (workload.complete, exact_blocks, time_budget_seconds) {
        (true, Some(blocks), _) => format!("it had the {blocks} blocks asked for"),
        (true, None, _) => "it had the blocks, or the time, of its profile".to_owned(),
        (false, _, _) if results.run.partial => "the run was interrupted".to_owned(),
        (false, _, Some(seconds)) => {
            format!("the run's {} went where intervals were wider", elapsed(*seconds))
        }
        (false, _, None) => "no runtime of it worked any more".to_owned(),
    }
}

/// What a sandbox's start, and a run, have of the harness itself.
pub fn sentences(view: &View<'_>) -> Vec<String> {
    let (run, effort) = (&view.results.run, &view.results.effort);
    let mut said = Vec::new();
    let mut calls = effort.request_to_call_ns.clone();
    calls.sort_unstable();
    if let (Some(middle), Some(most)) = (calls.get(calls.len() / 2), calls.last()) {
        let show = |ns: &u64| Unit::Nanoseconds.show(float(*ns));
        said.push(format!(
            "From the request to the call of the runtime, the harness's own part of every start: \
             {} in the middle of {} samples, {} at the most.",
            show(middle),
            many(calls.len()),
            show(most)
        ));
    }
    let whole = float(run.duration_seconds);
    let costs = [
        ("reading memory", effort.memory_reading_seconds),
        ("saving unfinished results", effort.saving_seconds),
    ];
    let parts: Vec<String> = costs
        .iter()
        .filter(|(_, seconds)| seconds.is_finite() && *seconds > 0.0 && whole > 0.0)
        .map(|(what, seconds)| format!("{what} {}", part(*seconds, whole)))
        .collect();
    if !parts.is_empty() {
        said.push(format!("The harness's own part of the run's time: {}.", parts.join(", ")));
    }
    match effort.resumed {
        0 => {}
        1 => said.push("It was interrupted once and resumed.".to_owned()),
        times => said.push(format!("It was interrupted {times} times and resumed.")),
    }
    said
}

/// A part of the whole, with its share.
pub fn part(seconds: f64, whole: f64) -> String {
    let share = seconds / whole * 100.0;
    let time = Unit::Nanoseconds.show(seconds * 1e9);
    if share.is_finite() { format!("{time} ({}\u{a0}%)", number(share)) } else { time }
}

/// How a runtime compared with itself, over all metrics: what the harness takes for
/// its own and the machine's noise.
pub fn agreement(view: &View<'_>) -> Option<String> {
    let floors = &view.results.noise;
    let runtimes = crate::view::distinct(floors.iter().map(|floor| floor.runtime.as_str()));
    let labels: Vec<String> = runtimes.into_iter().map(|name| view.label(name)).collect();
    let same = floors.iter().filter(|floor| floor.low <= 1.0 && 1.0 <= floor.high).count();
    let mut sizes: Vec<_> = floors.iter().filter(|floor| floor.floor.is_finite()).collect();
    sizes.sort_by(|a, b| a.floor.total_cmp(&b.floor));
    let (middle, largest) = (sizes.get(sizes.len() / 2)?, sizes.last()?);
    let percent = |part: f64| format!("{}\u{a0}%", number(part * 100.0));
    let share = percent(count(same) / count(floors.len()));
    Some(format!(
        "A/A, {} compared with itself: in {} of {} metrics ({share}) the interval of the ratio \
         includes 1, where chance alone would leave 95\u{a0}%. Differences below the noise floor are \
         not called any: it is {} in the middle metric, {} in the noisiest ({}: {}).",
        labels.join(", "),
        many(same),
        many(floors.len()),
        percent(middle.floor),
        percent(largest.floor),
        crate::view::printable(&largest.workload),
        crate::view::printable(&largest.metric)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn workload(complete: bool) -> WorkloadEffort {
        WorkloadEffort {
            workload: "boot".to_owned(),
            blocks_begun: 7,
            blocks_finished: 7,
            seconds: 12.0,
            complete,
        }
    }

    #[test]
    fn what_ended_a_workload_follows_from_how_the_run_was_bounded() {
        let mut results = sample::results();
        assert!(ended(&results, &workload(true)).contains("of its profile"));
        results.effort.exact_blocks = Some(7);
        assert!(ended(&results, &workload(true)).contains("the 7 blocks asked for"));
        results.effort.exact_blocks = None;
        results.effort.time_budget_seconds = Some(720);
        assert!(ended(&results, &workload(false)).starts_with("the run's 12 min 0 s"));
        results.run.partial = true;
        assert_eq!(ended(&results, &workload(false)), "the run was interrupted");
    }

    #[test]
    fn the_harness_says_what_it_costs() {
        let mut results = sample::results();
        results.effort.request_to_call_ns = vec![900, 100, 300];
        results.effort.memory_reading_seconds = 0.431;
        results.effort.resumed = 2;
        let said = sentences(&View::new(&results)).join(" ").replace('\u{a0}', " ");
        assert!(
            said.contains("300 ns in the middle of 3 samples, 900 ns at the most"),
            "{said}"
        );
        assert!(said.contains("reading memory 431 ms (0.100 %)"), "{said}");
        assert!(said.contains("interrupted 2 times"), "{said}");
        assert!(sentences(&View::new(&sample::results())).is_empty());
    }

    #[test]
    fn agreement_counts_the_intervals_that_include_no_difference() {
        let mut results = sample::rich();
        results.noise[0].low = 1.001;
        let said = agreement(&View::new(&results)).unwrap().replace('\u{a0}', " ");
        assert!(
            said.starts_with("A/A, native, container, microvm † compared with itself"),
            "{said}"
        );
        assert!(said.contains("in 8 of 9 metrics (88.9 %)"), "{said}");
        assert!(said.contains("2.25 % in the middle metric, 3.25 % in the noisiest"), "{said}");
        assert!(agreement(&View::new(&sample::results())).is_none());
    }

    #[test]
    fn every_workload_has_its_row_and_the_rest_of_the_time_too() {
        let mut results = sample::rich();
        results.effort.workloads = ["boot", "storm"]
            .map(|name| WorkloadEffort { workload: name.to_owned(), ..workload(true) })
            .to_vec();
        results.effort.workloads[1].blocks_finished = 6;
        let table = crate::tables::effort(&View::new(&results));
        assert_eq!(table.rows.len(), 3);
        assert_eq!(table.rows[0][2].main, results.boot.len().to_string());
        assert_eq!(table.rows[1][1].aside, "and 1 cut short");
        assert_eq!(table.rows[1][0].aside, "Start storm");
        assert_eq!(table.rows[2][3].main, "6.78\u{a0}min (94.4\u{a0}%)");
        assert!(crate::tables::effort(&View::new(&sample::results())).is_empty());
    }
}
