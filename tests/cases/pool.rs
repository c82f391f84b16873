//! Sandboxes prepared ahead of the runs that use them.

use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use crate::images::BUSYBOX;
use crate::lab::{Footprint, Lab, Wall, wait_until};

/// Names of the sandboxes that wait.
fn waiting(lab: &Lab) -> BTreeSet<String> {
    let listed = lab.verb(&["pool", "ls", "--format", "json"]);
    let offers: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    let offers = offers.as_array().expect("a list").iter();
    offers.map(|offer| offer["id"].as_str().expect("a name").to_owned()).collect()
}

fn fill(lab: &Lab, count: &str) -> BTreeSet<String> {
    let filled = lab.verb(&["pool", "fill", "-n", count, BUSYBOX]);
    filled.expect_code(0);
    filled.text().lines().map(str::to_owned).collect()
}

pub fn a_prepared_sandbox_is_used_once(lab: &Lab, wall: Wall) {
    let before = Footprint::now(lab);
    let made = fill(lab, "2");
    assert_eq!((made.len(), &waiting(lab)), (2, &made));
    assert!(fill(lab, "2").is_empty(), "those that wait count");
    let name = |arguments: &[&str]| {
        let run =
            lab.run(wall, &[arguments, &[BUSYBOX, "sh", "-c", "hostname; exit 4"]].concat());
        run.expect_code(4).text().trim().to_owned()
    };
    // Whoever wants none, or another one, gets one of its own.
    for arguments in [&["--cold"][..], &["--memory", "64m"], &["--name", "mine"]] {
        assert!(!made.contains(&name(arguments)), "{arguments:?}");
    }
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
    let made = fill(lab, "4");
    let runs: Vec<Child> = (0..6)
        .map(|_| {
            let mut command = lab.run_command(wall, &[BUSYBOX, "hostname"]);
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
    lab.run(wall, &["--warm-pool", "2", BUSYBOX, "true"]).expect_code(0);
    let made = waiting(lab);
    assert_eq!(made.len(), 2);
    let taken = lab.run(wall, &["--warm-pool", "2", BUSYBOX, "hostname"]).text();
    assert!(made.contains(taken.trim()), "{taken}");
    assert_eq!(waiting(lab).len(), 2);
    // Only those of the images named go.
    lab.verb(&["pool", "drain", "another"]).expect_code(0);
    assert_eq!(waiting(lab).len(), 2);
    lab.verb(&["pool", "drain", BUSYBOX]).expect_code(0);
    Footprint::settles_to(lab, &before);
}

pub fn killed_fills_are_collected(lab: &Lab, _: Wall) {
    let before = Footprint::now(lab);
    for round in 0..20 {
        let mut command = lab.command(["pool", "fill", "-n", "100", BUSYBOX]);
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

pub fn microvms_are_not_prepared_yet(lab: &Lab, wall: Wall) {
    let fill = lab.verb(&["pool", "fill", "--isolation", wall.name(), BUSYBOX]);
    fill.expect_error(125, "not supported");
    assert!(waiting(lab).is_empty());
}
