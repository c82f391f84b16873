//! Tests that every renderer takes any results: those of a run that measured
//! almost nothing, and those that make no sense at all.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::clocks::{CLOCKS, START_METRIC};
use crate::schema::{
    Attempt, AttemptOutcome, BootSample, Cell, DensitySample, Fit, NoiseFloor, Omission, Ratio,
    Results, RuntimeInfo, Start, Surface, SurfaceProcess,
};
use crate::{html, markdown, sample, terminal};

/// Everything a reader can be given; panics if a renderer does.
fn render_all(results: &Results) -> [String; 3] {
    let all = [terminal::summary(results), markdown::render(results), html::render(results)];
    assert!(all.iter().all(|text| !text.is_empty()));
    assert!(!all[2].contains("This chart is missing"), "a chart failed");
    for noise in ["NaN", "inf ", ">inf<"] {
        assert!(!all[0].contains(noise) && !all[1].contains(noise), "{noise}");
    }
    all
}

fn nothing_measured() -> Results {
    let mut results = sample::results();
    results.boot.clear();
    results.density.clear();
    results.syscalls.clear();
    results.cells.clear();
    results.ratios.clear();
    results.fits.clear();
    results
}

#[test]
fn a_run_that_measured_nothing_says_why() {
    let mut results = nothing_measured();
    results.omitted = vec![Omission {
        workload: "boot".to_owned(),
        runtime: "container".to_owned(),
        reason: "user namespaces are disabled".to_owned(),
    }];
    for text in render_all(&results) {
        assert!(text.contains("user namespaces are disabled"));
    }
}

#[test]
fn one_runtime_alone_is_compared_with_nothing() {
    let mut results = sample::results();
    results.runtimes.truncate(1);
    results.boot.retain(|sample| sample.runtime == "native");
    results.density.retain(|sample| sample.runtime == "native");
    results.cells.retain(|cell| cell.runtime == "native");
    results.fits.retain(|fit| fit.runtime == "native");
    results.ratios.clear();
    let [terminal, _, page] = render_all(&results);
    assert!(terminal.contains("native") && !terminal.contains("container"));
    assert!(!page.contains("× native"));
}

#[test]
fn a_missing_microvm_is_reported_with_its_reason() {
    let mut results = sample::results();
    results.runtimes[2].unavailable = vec!["/dev/kvm does not exist".to_owned()];
    results.host.kvm = None;
    results.boot.retain(|sample| sample.runtime != "microvm");
    results.density.retain(|sample| sample.runtime != "microvm");
    results.cells.retain(|cell| cell.runtime != "microvm");
    results.ratios.retain(|ratio| ratio.runtime != "microvm");
    results.fits.retain(|fit| fit.runtime != "microvm");
    for text in render_all(&results) {
        assert!(text.contains("/dev/kvm does not exist"));
        assert!(text.contains("no KVM on this host"));
    }
}

#[test]
fn samples_without_summaries_still_have_charts() {
    let mut results = sample::results();
    results.cells.clear();
    results.ratios.clear();
    results.fits.clear();
    let [.., page] = render_all(&results);
    assert!(page.contains("id=\"start\"") && page.contains("id=\"memory\""));
}

/// Short texts, among them those that mean something here.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("native".to_owned()),
        Just("microvm".to_owned()),
        Just("boot".to_owned()),
        Just("syscalls".to_owned()),
        Just(START_METRIC.to_owned()),
        Just("getppid".to_owned()),
        Just("cpu_hash".to_owned()),
        Just("used_bytes".to_owned()),
        Just("ns".to_owned()),
        any::<String>(),
    ]
}

fn clock() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0..CLOCKS.len()).prop_map(|i| CLOCKS[i].name.to_owned()),
        1 => any::<String>(),
    ]
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), Just(0.0), 0.0..1e10_f64]
}

prop_compose! {
    fn boot()(
        runtime in text(),
        warm_up: bool,
        clocks_ns in prop::collection::btree_map(clock(), any::<u64>(), 0..9),
        kvm in prop::collection::btree_map(any::<String>(), any::<u64>(), 0..3),
    ) -> BootSample {
        let kvm_at = BTreeMap::from([("kernel_done".to_owned(), kvm.clone())]);
        let (block, position, exit_code) = (0, 0, 0);
        BootSample { runtime, block, position, warm_up, clocks_ns, kvm, kvm_at, exit_code }
    }
}

prop_compose! {
    fn density()(
        runtime in text(),
        count: u32,
        used_bytes: i64,
        pss_bytes in prop::collection::btree_map(any::<String>(), any::<u64>(), 0..3),
        private_bytes in prop::collection::btree_map(any::<String>(), any::<u64>(), 0..3),
        kernel_bytes: Option<u64>,
    ) -> DensitySample {
        DensitySample {
            runtime,
            repetition: 0,
            count,
            used_bytes,
            pss_bytes,
            private_bytes,
            kernel_bytes,
        }
    }
}

prop_compose! {
    fn cell()(
        (workload, metric, runtime, unit) in (text(), text(), text(), text()),
        (n, outliers) in (any::<usize>(), any::<usize>()),
        (median, low, high) in (number(), number(), number()),
        (min, max, mad) in (number(), number(), number()),
        (p90, p99) in (prop::option::of(number()), prop::option::of(number())),
    ) -> Cell {
        Cell {
            workload, metric, runtime, unit, n, median, low, high, min, max, mad, p90, p99, outliers,
        }
    }
}

prop_compose! {
    fn ratio()(
        (workload, metric, runtime, baseline) in (text(), text(), text(), text()),
        (ratio, low, high, p_value) in (number(), number(), number(), number()),
        distinguishable: bool,
    ) -> Ratio {
        Ratio { workload, metric, runtime, baseline, ratio, low, high, p_value, distinguishable }
    }
}

prop_compose! {
    fn fit()(
        (runtime, metric) in (text(), text()),
        (slope, slope_low, slope_high, intercept) in (number(), number(), number(), number()),
        n: usize,
    ) -> Fit {
        Fit { runtime, metric, slope, slope_low, slope_high, intercept, n }
    }
}

prop_compose! {
    fn attempt()(
        (runtime, attempt, evidence, inside) in (text(), text(), any::<String>(), any::<String>()),
        outcome in prop::sample::select(vec![
            AttemptOutcome::Reached,
            AttemptOutcome::Contained,
            AttemptOutcome::Refused,
            AttemptOutcome::Limited,
            AttemptOutcome::NotRun,
        ]),
    ) -> Attempt {
        Attempt { runtime, attempt, outcome, evidence, inside }
    }
}

prop_compose! {
    fn surface()(
        (runtime, workload, role) in (text(), text(), text()),
        system_calls in prop::collection::btree_map(any::<String>(), any::<u64>(), 0..4),
        capabilities in prop::collection::vec(any::<String>(), 0..12),
        (seccomp_filter, no_new_privileges) in any::<(bool, bool)>(),
    ) -> Surface {
        let namespaces = capabilities.clone();
        let process =
            SurfaceProcess { role, capabilities, namespaces, seccomp_filter, no_new_privileges };
        Surface { runtime, workload, system_calls, processes: vec![process] }
    }
}

prop_compose! {
    fn floor()(
        (workload, metric, runtime) in (text(), text(), text()),
        n: usize,
        (ratio, low, high, floor) in (number(), number(), number(), number()),
    ) -> NoiseFloor {
        NoiseFloor { workload, metric, runtime, n, ratio, low, high, floor }
    }
}

prop_compose! {
    fn runtime()(
        (name, isolation, version) in (text(), text(), any::<String>()),
        why: Option<String>,
        runtime in prop::option::of(text()),
        start in prop::sample::select(vec![Start::Cold, Start::Warm, Start::Pool, Start::App]),
    ) -> RuntimeInfo {
        let unavailable = why.into_iter().collect();
        RuntimeInfo { name, isolation, version, unavailable, runtime, start }
    }
}

prop_compose! {
    fn any_results()(
        runtimes in prop::collection::vec(runtime(), 0..4),
        boot in prop::collection::vec(boot(), 0..12),
        density in prop::collection::vec(density(), 0..8),
        cells in prop::collection::vec(cell(), 0..10),
        ratios in prop::collection::vec(ratio(), 0..10),
        fits in prop::collection::vec(fit(), 0..6),
        attempts in prop::collection::vec(attempt(), 0..8),
        surfaces in prop::collection::vec(surface(), 0..4),
        noise in prop::collection::vec(floor(), 0..5),
        has_kvm: bool,
    ) -> Results {
        let mut results = sample::results();
        if !has_kvm {
            results.host.kvm = None;
        }
        Results {
            runtimes, boot, density, cells, ratios, fits, attempts, surfaces, noise, ..results
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn any_results_can_be_rendered(results in any_results()) {
        render_all(&results);
    }
}
