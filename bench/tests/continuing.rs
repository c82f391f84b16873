//! Runs that are interrupted, bounded or cut off from their disk.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod support;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::error::Error;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bulkhead_bench::{
    BenchConfig, BenchError, Candidate, Checkpoint, Extent, NativeRuntime, NoCheckpoint,
    ResumeError, Silent, Stop, run,
};
use bulkhead_reports::schema::{Results, Start};
use bulkhead_runtime::{Bundle, Isolation, Runtime};

use support::{Behaviour, Counting, Double, config, layer_with_probe, probe_bundle};

fn candidates<'a>(runtimes: [&'a dyn Runtime; 2], bundle: &'a Bundle) -> [Candidate<'a>; 2] {
    runtimes.map(|runtime| Candidate {
        runtime,
        version: "1",
        bundle: Ok(bundle),
        start: Start::Cold,
    })
}

fn never(config: &BenchConfig, candidates: &[Candidate<'_>]) -> Results {
    run(config, candidates, Stop::on_flag(&AtomicBool::new(false)), &Silent, &NoCheckpoint)
        .unwrap()
}

/// A run that is stopped when `messages` samples have begun.
fn interrupted(config: &BenchConfig, candidates: &[Candidate<'_>], messages: u32) -> Results {
    let flag = AtomicBool::new(false);
    let progress = Counting::stopping_after(messages, &flag);
    run(config, candidates, Stop::on_flag(&flag), &progress, &NoCheckpoint).unwrap()
}

fn blocks(results: &Results, workload: &str) -> u32 {
    let effort = results.effort.workloads.iter().find(|effort| effort.workload == workload);
    effort.unwrap().blocks_finished
}

#[test]
fn a_run_goes_on_where_it_was_interrupted() {
    let layer = layer_with_probe();
    let bundle = probe_bundle(&layer);
    let double = Double::new("double", Isolation::Container, Behaviour::Works);
    let candidates = candidates([&NativeRuntime, &double], &bundle);
    let mut config = config();
    config.extent = Extent::Blocks(6);
    let first = interrupted(&config, &candidates, 9);
    assert!(first.run.partial && !first.boot.is_empty() && first.syscalls.is_empty());

    config.earlier = Some(first.clone());
    let whole = never(&config, &candidates);
    assert!(!whole.run.partial);
    assert_eq!(whole.boot[..first.boot.len()], first.boot[..], "finished samples are kept");
    assert_eq!(whole.omitted, [], "nothing is said to be interrupted any more");
    assert_eq!((whole.effort.resumed, &whole.run.started), (1, &first.run.started));
    // One warm-up block and the six asked for, beside the one that was cut short.
    assert_eq!((blocks(&whole, "boot"), blocks(&whole, "syscalls")), (7, 7));
    let numbers: BTreeSet<(u32, u32)> =
        whole.boot.iter().map(|sample| (sample.block, sample.position)).collect();
    assert_eq!(numbers.len(), whole.boot.len(), "no slot is measured twice");
}

#[test]
fn a_run_made_under_other_conditions_is_not_gone_on_with() {
    let layer = layer_with_probe();
    let bundle = probe_bundle(&layer);
    let double = Double::new("double", Isolation::Container, Behaviour::Works);
    let candidates = candidates([&NativeRuntime, &double], &bundle);
    let first = interrupted(&config(), &candidates, 3);
    let refused = |change: &dyn Fn(&mut Results), named: &str| {
        let mut earlier = first.clone();
        change(&mut earlier);
        let config = BenchConfig { earlier: Some(earlier), ..config() };
        let stop = AtomicBool::new(false);
        let result = run(&config, &candidates, Stop::on_flag(&stop), &Silent, &NoCheckpoint);
        let Err(BenchError::Resume(ResumeError::Differs { what, then, now })) = result else {
            panic!("{named}: {:?}", result.map(|results| results.run))
        };
        assert!(what.contains(named) && then != now, "{what}: {then} {now}");
    };
    refused(&|earlier| earlier.host.kernel.push_str("-other"), "kernel of the host");
    refused(&|earlier| earlier.host.cpus += 1, "processor");
    refused(&|earlier| earlier.run.image_digest.push('0'), "image");
    refused(&|earlier| earlier.run.guest_kernel = Some("9.9".to_owned()), "guest kernel");
    refused(&|earlier| earlier.run.tool_version.push('1'), "version");
    refused(&|earlier| earlier.run.seed += 1, "seed");
    refused(&|earlier| earlier.runtimes[0].version.push('1'), "runtimes");
    refused(&|earlier| drop(earlier.runtimes.pop()), "runtimes");

    let whole = Results {
        run: {
            let mut run = first.run.clone();
            run.partial = false;
            run
        },
        ..first
    };
    let config = BenchConfig { earlier: Some(whole), ..config() };
    let stop = AtomicBool::new(false);
    let result = run(&config, &candidates, Stop::on_flag(&stop), &Silent, &NoCheckpoint);
    assert!(matches!(result, Err(BenchError::Resume(ResumeError::Complete))));
}

#[test]
fn the_number_of_blocks_is_the_one_asked_for() {
    let layer = layer_with_probe();
    let bundle = probe_bundle(&layer);
    let double = Double::new("double", Isolation::Container, Behaviour::Works);
    let candidates = candidates([&NativeRuntime, &double], &bundle);
    let mut config = config();
    config.extent = Extent::Blocks(3);
    // Neither the least of the profile nor its budget has a say.
    config.profile.boot.budget = Duration::ZERO;
    let results = never(&config, &candidates);
    assert_eq!((blocks(&results, "boot"), blocks(&results, "syscalls")), (4, 4));
    assert_eq!(results.effort.exact_blocks, Some(3));
    assert_eq!(blocks(&results, "density"), config.profile.density.repetitions);
}

#[test]
fn a_budget_of_time_is_spent_on_every_workload_and_then_where_it_is_needed() {
    let layer = layer_with_probe();
    let bundle = probe_bundle(&layer);
    let double = Double::new("double", Isolation::Container, Behaviour::Works);
    let candidates = candidates([&NativeRuntime, &double], &bundle);
    let mut config = config();
    config.extent = Extent::Time(Duration::from_secs(6));
    let results = never(&config, &candidates);
    assert!(!results.run.partial);
    assert_eq!(results.effort.time_budget_seconds, Some(6));
    for workload in ["boot", "syscalls", "density"] {
        assert!(blocks(&results, workload) >= 1, "{workload}");
    }
    let efforts = &results.effort.workloads;
    let left = 6.0 - efforts.iter().map(|effort| effort.seconds).sum::<f64>();
    for effort in efforts {
        let per_block = effort.seconds / f64::from(effort.blocks_finished);
        assert!(per_block > left, "there was time for another block: {effort:?}, {left}");
    }
}

/// Keeps what it is given until it is told to refuse it.
#[derive(Default)]
struct Disk {
    kept: RefCell<Vec<Results>>,
    room: usize,
}

impl Checkpoint for Disk {
    fn save(&self, so_far: &Results) -> Result<(), Box<dyn Error + Send + Sync>> {
        if self.kept.borrow().len() == self.room {
            return Err("no space left".into());
        }
        self.kept.borrow_mut().push(so_far.clone());
        Ok(())
    }
}

#[test]
fn nothing_is_measured_that_could_not_be_kept() {
    let layer = layer_with_probe();
    let bundle = probe_bundle(&layer);
    let double = Double::new("double", Isolation::Container, Behaviour::Works);
    let candidates = candidates([&NativeRuntime, &double], &bundle);
    let (stop, disk) = (AtomicBool::new(false), Disk::default());
    let result = run(&config(), &candidates, Stop::on_flag(&stop), &Silent, &disk);
    let Err(BenchError::Checkpoint(reason)) = result else { panic!("it was measured") };
    assert_eq!(reason.to_string(), "no space left");
    assert_eq!(double.starts(), 0);
}

#[test]
fn what_is_kept_on_the_way_can_be_gone_on_with() {
    let layer = layer_with_probe();
    let bundle = probe_bundle(&layer);
    let double = Double::new("double", Isolation::Container, Behaviour::Works);
    let candidates = candidates([&NativeRuntime, &double], &bundle);
    let mut config = config();
    config.extent = Extent::Time(Duration::from_secs(13));
    let (stop, disk) = (AtomicBool::new(false), Disk { room: 2, ..Disk::default() });
    let results = run(&config, &candidates, Stop::on_flag(&stop), &Silent, &disk).unwrap();
    assert!(!results.run.partial, "a disk that fills up costs no sample");

    let kept = disk.kept.into_inner();
    let [empty, later] = &kept[..] else { panic!("{} copies", kept.len()) };
    assert!(empty.run.partial && empty.boot.is_empty());
    assert!(later.run.partial && !later.boot.is_empty());
    assert_eq!(results.boot[..later.boot.len()], later.boot[..]);
    config.earlier = Some(later.clone());
    let flag = AtomicBool::new(false);
    let progress = Counting::stopping_after(2, &flag);
    let on = run(&config, &candidates, Stop::on_flag(&flag), &progress, &NoCheckpoint).unwrap();
    assert_eq!(on.boot[..later.boot.len()], later.boot[..]);
}

/// Not 10 %: how long a start takes on a machine that runs tests is anybody's
/// guess. That the rule finds 10 % is shown on recorded samples.
#[test]
fn a_planted_delay_is_found_through_the_whole_harness() {
    let layer = layer_with_probe();
    let bundle = probe_bundle(&layer);
    let slow =
        Double::new("slow", Isolation::Container, Behaviour::Delays(Duration::from_secs(1)));
    let mut config = config();
    config.extent = Extent::Blocks(8);
    config.profile.boot.max_weight = 1;
    let results = interrupted(&config, &candidates([&NativeRuntime, &slow], &bundle), 28);
    let ratio = results.ratios.iter().find(|ratio| ratio.metric == "request→first_output");
    let ratio = ratio.unwrap();
    assert!(ratio.distinguishable && ratio.ratio > 1.0, "{ratio:?}");
}
