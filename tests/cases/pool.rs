//! Sandboxes prepared ahead of the runs that use them.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cases::snapshots::WHO_AM_I;
use crate::images::BUSYBOX;
use crate::lab::{Finished, Footprint, Lab, Wall, wait_until};

/// Another size than the default, so that no other test's run fits a template that is
/// made here.
const MEMORY: &str = "76m";

/// What a sandbox behind `wall` is prepared with, and asked for with.
fn like_those_prepared(wall: Wall) -> &'static [&'static str] {
    if wall == Wall::MicroVm { &["--memory", MEMORY] } else { &[] }
}

/// Names of the sandboxes that wait.
fn waiting(lab: &Lab) -> BTreeSet<String> {
    let listed = lab.verb(&["pool", "ls", "--format", "json"]);
    let offers: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    let offers = offers.as_array().expect("a list").iter();
    offers.map(|offer| offer["id"].as_str().expect("a name").to_owned()).collect()
}

fn fill_arguments(wall: Wall, count: &str) -> Vec<&str> {
    let verb = ["pool", "fill", "--isolation", wall.name(), "-n", count];
    [&verb[..], like_those_prepared(wall), &[BUSYBOX]].concat()
}

fn fill(lab: &Lab, wall: Wall, count: &str) -> BTreeSet<String> {
    let filled = lab.verb(&fill_arguments(wall, count));
    filled.expect_code(0);
    filled.text().lines().map(str::to_owned).collect()
}

/// A run that fits what is prepared.
fn run(lab: &Lab, wall: Wall, options: &[&str], command: &[&str]) -> Finished {
    lab.run(wall, &[like_those_prepared(wall), options, &[BUSYBOX], command].concat())
}

pub fn a_prepared_sandbox_is_used_once(lab: &Lab, wall: Wall) {
    let before = Footprint::now(lab);
    let made = fill(lab, wall, "2");
    assert_eq!((made.len(), &waiting(lab)), (2, &made));
    assert!(fill(lab, wall, "2").is_empty(), "those that wait count");
    let ask = &["sh", "-c", "hostname; exit 4"];
    let said = |run: Finished| run.expect_code(4).text().trim().to_owned();
    let name = |options: &[&str]| said(run(lab, wall, options, ask));
    // Whoever wants none, or another one, gets one of its own.
    for options in [&["--cold"][..], &["--read-only"], &["--name", "mine"]] {
        assert!(!made.contains(&name(options)), "{options:?}");
    }
    let larger = [&["--memory", "96m", BUSYBOX], &ask[..]].concat();
    assert!(!made.contains(&said(lab.run(wall, &larger))));
    assert_eq!(waiting(lab).len(), 2);
    let first = name(&["-u", "1000", "-w", "/work", "--init"]);
    assert!(made.contains(&first), "{first}");
    assert_eq!(waiting(lab), made.iter().filter(|id| **id != first).cloned().collect());
    let drained = lab.verb(&["pool", "drain"]);
    assert_eq!(drained.expect_code(0).text().lines().count(), 1);
    Footprint::settles_to(lab, &before);
    assert!(!made.contains(&name(&[])), "the pool is empty");
    Footprint::settles_to(lab, &before);
}

pub fn runs_at_once_never_share_one(lab: &Lab, wall: Wall) {
    let before = Footprint::now(lab);
    let made = fill(lab, wall, "4");
    let arguments = [like_those_prepared(wall), &[BUSYBOX, "hostname"]].concat();
    let runs: Vec<Child> = (0..6)
        .map(|_| {
            let mut command = lab.run_command(wall, &arguments);
            command.stdout(Stdio::piped()).spawn().expect("started")
        })
        .collect();
    let names: Vec<String> = runs
        .into_iter()
        .map(|run| {
            let output = run.wait_with_output().expect("our own child");
            assert!(output.status.success());
            String::from_utf8(output.stdout).expect("text").trim().to_owned()
        })
        .collect();
    let distinct: BTreeSet<String> = names.iter().cloned().collect();
    assert_eq!(distinct.len(), 6, "{names:?}");
    assert!(distinct.is_superset(&made), "{names:?} without some of {made:?}");
    Footprint::settles_to(lab, &before);
}

pub fn a_run_fills_the_pool_for_the_next(lab: &Lab, wall: Wall) {
    let before = Footprint::now(lab);
    run(lab, wall, &["--warm-pool", "2"], &["true"]).expect_code(0);
    let made = waiting(lab);
    assert_eq!(made.len(), 2);
    let taken = run(lab, wall, &["--warm-pool", "2"], &["hostname"]).text();
    assert!(made.contains(taken.trim()), "{taken}");
    assert_eq!(waiting(lab).len(), 2);
    // Only those of the images named go.
    lab.verb(&["pool", "drain", "another"]).expect_code(0);
    assert_eq!(waiting(lab).len(), 2);
    lab.verb(&["pool", "drain", BUSYBOX]).expect_code(0);
    Footprint::settles_to(lab, &before);
}

pub fn one_that_was_killed_is_passed_over(lab: &Lab, wall: Wall) {
    let before = Footprint::now(lab);
    let made = fill(lab, wall, "2");
    let victim = made.first().expect("two");
    let record = fs::read(lab.root.join(victim).join("state.json")).expect("its record");
    let record: serde_json::Value = serde_json::from_slice(&record).expect("JSON");
    let pid = record["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    kill(Pid::from_raw(pid.expect("a process")), Signal::SIGKILL).expect("it lives");
    let started = Instant::now();
    while waiting(lab).len() > 1 && started.elapsed() < Duration::from_secs(5) {
        thread::sleep(Duration::from_millis(20));
    }
    let taken = run(lab, wall, &[], &["hostname"]).text();
    assert!(made.contains(taken.trim()) && taken.trim() != victim, "{taken}");
    lab.verb(&["gc"]).expect_code(0);
    Footprint::settles_to(lab, &before);
}

pub fn killed_fills_are_collected(lab: &Lab, wall: Wall) {
    let before = Footprint::now(lab);
    for round in 0..20 {
        let mut command = lab.command(fill_arguments(wall, "100"));
        let mut child = command.stdout(Stdio::null()).spawn().expect("bulkhead starts");
        thread::sleep(Duration::from_micros(round * 900));
        child.kill().expect("it runs");
        wait_until(&mut child, Duration::from_secs(10));
    }
    // What got as far as the pool is good; what did not is nobody's.
    lab.verb(&["pool", "drain"]).expect_code(0);
    lab.verb(&["gc"]).expect_code(0);
    Footprint::settles_to(lab, &before);
}

/// What is the same in two clones, and when they believe it is, is settled when they
/// are taken.
pub fn prepared_machines_are_machines_of_their_own(lab: &Lab, wall: Wall) {
    let before = Footprint::now(lab);
    fill(lab, wall, "2");
    // More than the clocks may differ by below.
    thread::sleep(Duration::from_secs(3));
    let mut seen = BTreeSet::new();
    for _ in 0..2 {
        let command = format!("{WHO_AM_I}; touch /now; stat -c %Y /now");
        let begun = now_s();
        let text = run(lab, wall, &[], &["sh", "-c", &command]).expect_code(0).text();
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        let inside: u64 = lines.pop().and_then(|line| line.parse().ok()).expect("seconds");
        assert!((begun - 1..=now_s() + 1).contains(&inside), "{inside}, begun at {begun}");
        assert_eq!(lines.len(), 4, "{text}");
        for line in lines {
            assert!(seen.insert(line), "two clones have something in common:\n{text}");
        }
    }
    assert!(waiting(lab).is_empty());
    Footprint::settles_to(lab, &before);
}

/// The time, seconds since 1970.
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}
