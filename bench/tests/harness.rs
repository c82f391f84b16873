//! Whole runs of the harness, with the real probe running natively and test
//! doubles that fail on purpose.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use bulkhead_bench::{
    BenchConfig, BenchError, Candidate, NativeRuntime, NoCheckpoint, Silent, Stop, WORKLOADS,
    run,
};
use bulkhead_reports::clocks::phases;
use bulkhead_reports::schema::{Omission, Results, SCHEMA_VERSION, Start};
use bulkhead_runtime::{Bundle, Isolation, Runtime};

use support::{Behaviour, Counting, Double, config, layer_with_probe, probe_bundle};

fn candidate<'a>(runtime: &'a dyn Runtime, bundle: &'a Bundle) -> Candidate<'a> {
    Candidate { runtime, version: "1", bundle: Ok(bundle), start: Start::Cold }
}

fn run_quietly(config: &BenchConfig, candidates: &[Candidate<'_>]) -> Results {
    run(config, candidates, Stop::on_flag(&AtomicBool::new(false)), &Silent, &NoCheckpoint)
        .unwrap()
}

#[test]
fn measures_everything_with_every_runtime() {
    let layer = layer_with_probe();
    let bundle = probe_bundle(&layer);
    let double = Double::new("double", Isolation::Container, Behaviour::Works);
    let candidates = [candidate(&double, &bundle), candidate(&NativeRuntime, &bundle)];
    let config = BenchConfig { workloads: WORKLOADS.to_vec(), ..config() };
    let results = run_quietly(&config, &candidates);

    assert_eq!(results.schema_version, SCHEMA_VERSION);
    assert!(!results.run.partial);
    // Neither starts further processes; the double runs natively and is asked for
    // the path a wall would have.
    let known = |omission: &Omission| {
        omission.reason.starts_with("exec: ")
            || omission.workload == "files" && omission.runtime == "double"
    };
    assert_eq!(results.omitted.iter().find(|omission| !known(omission)), None);
    let names: Vec<_> = results.runtimes.iter().map(|info| info.name.as_str()).collect();
    assert_eq!(names, ["native", "double"], "the baseline first");

    for runtime in names {
        let counted = results.boot.iter().filter(|s| s.runtime == runtime && !s.warm_up);
        let starts = results
            .cells
            .iter()
            .find(|cell| cell.runtime == runtime && cell.metric == "request→first_output");
        let starts = starts.unwrap();
        assert_eq!((starts.n, starts.unit.as_str()), (counted.count(), "ns"));
        assert!(starts.low <= starts.median && starts.median <= starts.high);

        let counts: Vec<u32> = results
            .density
            .iter()
            .filter(|sample| sample.runtime == runtime)
            .map(|sample| sample.count)
            .collect();
        assert_eq!(counts, [1, 2, 4, 1, 2, 4]);
        let fit = results.fits.iter().find(|f| f.runtime == runtime && f.metric == "pss_bytes");
        // An idle probe has a page of its own at least, and not a megabyte.
        assert!((4096.0..1e6).contains(&fit.unwrap().slope), "{fit:?}");
    }
    let measured: BTreeSet<_> =
        results.cells.iter().map(|c| (c.workload.as_str(), c.runtime.as_str())).collect();
    for workload in ["boot", "syscalls", "lifecycle", "compute", "files", "storm"] {
        assert!(measured.contains(&(workload, "native")), "{workload}: {measured:?}");
    }
    for sample in &results.boot {
        let total = sample.clocks_ns["released"];
        let sum: u64 = phases(&sample.clocks_ns).iter().map(|phase| phase.nanoseconds).sum();
        assert_eq!(sum, total, "phases leave no time unexplained: {sample:?}");
        let start: u64 = phases(&sample.clocks_ns)
            .iter()
            .filter(|phase| phase.before_output)
            .map(|phase| phase.nanoseconds)
            .sum();
        assert_eq!(start, sample.clocks_ns["first_output"], "{sample:?}");
    }
    let floors = results.noise.iter().filter(|floor| floor.runtime == "double");
    let workloads: BTreeSet<_> = floors.map(|floor| floor.workload.as_str()).collect();
    for workload in ["boot", "syscalls", "lifecycle", "compute", "files"] {
        assert!(workloads.contains(workload), "{workload} was measured twice: {workloads:?}");
    }
    let starts =
        |name: &str| results.boot.iter().filter(|s| s.runtime == name && !s.warm_up).count();
    assert!(starts("double") >= 12 && starts("native") >= 6);
    assert!(!results.effort.request_to_call_ns.is_empty());
    let complete = results.effort.workloads.iter().filter(|workload| workload.complete);
    assert_eq!(complete.count(), WORKLOADS.len());
    let operations: BTreeSet<_> = results.syscalls.iter().map(|s| &*s.operation).collect();
    assert_eq!(operations.len(), bulkhead_probe::OPERATIONS.len());
    let compared: BTreeSet<_> =
        results.ratios.iter().map(|r| (r.runtime.as_str(), r.baseline.as_str())).collect();
    assert_eq!(compared, BTreeSet::from([("double", "native")]));
}

#[test]
fn a_runtime_that_breaks_is_omitted_with_its_own_error() {
    let layer = layer_with_probe();
    let bundle = probe_bundle(&layer);
    let broken = Double::new("broken", Isolation::MicroVm, Behaviour::FailsAlways);
    let shaky = Double::new("shaky", Isolation::Container, Behaviour::FailsOnStart(3));
    let candidates = [&NativeRuntime as &dyn Runtime, &broken, &shaky]
        .map(|runtime| candidate(runtime, &bundle));
    let results = run_quietly(&config(), &candidates);

    for workload in ["boot", "density", "syscalls"] {
        let omission = results
            .omitted
            .iter()
            .find(|omission| omission.runtime == "broken" && omission.workload == workload);
        let reason = &omission.unwrap().reason;
        assert!(reason.contains("out of walls"), "{reason}");
    }
    let shaky_starts = results.boot.iter().filter(|s| s.runtime == "shaky").count();
    let native_starts = results.boot.iter().filter(|s| s.runtime == "native").count();
    assert!(shaky_starts > 5, "one failure costs one sample");
    assert!(native_starts > 5, "and none of the others'");
    let told = results.omitted.iter().filter(|omission| omission.runtime == "shaky");
    let [only] = told.collect::<Vec<_>>()[..] else { panic!("{:?}", results.omitted) };
    assert!(only.reason.starts_with("1 of "), "{}", only.reason);
    assert!(results.cells.iter().all(|cell| cell.runtime != "broken"));
}

#[test]
fn a_runtime_that_cannot_take_part_says_why() {
    let layer = layer_with_probe();
    let bundle = probe_bundle(&layer);
    let absent = Double::new("absent", Isolation::MicroVm, Behaviour::Unavailable);
    let without_image =
        Candidate { bundle: Err("no kernel was built"), ..candidate(&absent, &bundle) };

    let alone = run(
        &config(),
        &[without_image],
        Stop::on_flag(&AtomicBool::new(false)),
        &Silent,
        &NoCheckpoint,
    );
    let Err(BenchError::NoRuntime { reasons }) = alone else { panic!("{alone:?}") };
    assert!(reasons[0].contains("/dev/wall") && reasons[0].contains("no kernel was built"));

    let results = run_quietly(&config(), &[without_image, candidate(&NativeRuntime, &bundle)]);
    let info = results.runtimes.iter().find(|info| info.name == "absent").unwrap();
    assert_eq!(info.unavailable.len(), 2);
    assert!(results.boot.iter().all(|sample| sample.runtime == "native"));
}

#[test]
fn refuses_two_runtimes_of_one_name() {
    let layer = layer_with_probe();
    let bundle = probe_bundle(&layer);
    let twice = [candidate(&NativeRuntime, &bundle), candidate(&NativeRuntime, &bundle)];
    let result =
        run(&config(), &twice, Stop::on_flag(&AtomicBool::new(false)), &Silent, &NoCheckpoint);
    assert!(matches!(result, Err(BenchError::SameName(name)) if name == "native"));
}

#[test]
fn stopping_keeps_what_was_measured_and_leaves_nothing_running() {
    let layer = layer_with_probe();
    let bundle = probe_bundle(&layer);
    let flag = AtomicBool::new(false);
    // Stops when the fourth message has come: in the middle of the boot workload.
    let progress = Counting::stopping_after(4, &flag);
    let candidates = [candidate(&NativeRuntime, &bundle)];
    let results =
        run(&config(), &candidates, Stop::on_flag(&flag), &progress, &NoCheckpoint).unwrap();
    assert!(results.run.partial);
    assert!((2..=4).contains(&results.boot.len()), "{}", results.boot.len());
    assert!(results.density.is_empty() && results.syscalls.is_empty());
    let omitted: Vec<_> = results.omitted.iter().map(|o| o.workload.as_str()).collect();
    assert_eq!(omitted, ["syscalls", "density"]);
    assert_eq!(support::running_from(&layer), 0);
}

#[test]
fn a_hanging_workload_is_killed_and_reported() {
    let layer = layer_with_probe();
    let bundle = probe_bundle(&layer);
    let hangs = Double::new("hangs", Isolation::Container, Behaviour::Hangs);
    let mut config = config();
    config.profile.sandbox_timeout = std::time::Duration::from_millis(100);
    let results = run_quietly(&config, &[candidate(&hangs, &bundle)]);
    assert!(results.boot.is_empty());
    let reason = &results.omitted[0].reason;
    assert!(reason.contains("no end of the workload within"), "{reason}");
    assert_eq!(support::running_from(&layer), 0);
}

#[test]
fn the_ladder_ends_where_time_or_memory_would() {
    let layer = layer_with_probe();
    let bundle = probe_bundle(&layer);
    let candidates = [candidate(&NativeRuntime, &bundle)];
    let highest = |results: &Results| results.density.iter().map(|sample| sample.count).max();
    let reason = |results: &Results| results.omitted.iter().map(|o| o.reason.clone()).collect();

    let mut short = config();
    short.profile.density.budget = std::time::Duration::ZERO;
    let results = run_quietly(&short, &candidates);
    let reasons: Vec<String> = reason(&results);
    assert_eq!(highest(&results), Some(1));
    assert!(reasons[0].starts_with("no more than 1 idle at once: 2 would"), "{reasons:?}");

    let mut full = config();
    full.profile.density.reserve_bytes = u64::MAX;
    let results = run_quietly(&full, &candidates);
    let reasons: Vec<String> = reason(&results);
    assert_eq!(highest(&results), None);
    assert!(reasons[0].contains("of memory left"), "{reasons:?}");
    assert_eq!(support::running_from(&layer), 0);
}
