//! Advice, and runs that take it.

use std::fs;
use std::path::Path;

use crate::images::BUSYBOX;
use crate::lab::{Footprint, Lab, Wall};

pub fn hostile_code_gets_a_microvm(lab: &Lab, _: Wall) {
    let advice = lab.verb(&["advise", "--trust", "hostile", "--format", "json"]);
    advice.expect_code(0);
    let found: serde_json::Value = serde_json::from_slice(&advice.stdout).expect("JSON");
    assert_eq!(found["wall"], "microvm", "{found}");
    assert_eq!(found["reasons"][0]["rule"], "hostile-code", "{found}");
    let text = lab.verb(&["advise", "--trust", "hostile"]);
    text.expect_code(0);
    assert!(text.text().starts_with("Take a microVM"), "{}", text.text());
}

pub fn needs_come_from_a_file_and_flags_go_first(lab: &Lab, _: Wall) {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("needs");
    fs::create_dir_all(&dir).expect("a directory");
    let file = dir.join("needs.toml");
    fs::write(&file, "trust = \"hostile\"\ncount = 3\n").expect("written");
    let path = file.to_str().expect("utf-8");
    let flags = ["advise", "--needs", path, "--trust", "own", "--host-feature", "/dev/fuse"];
    let advice = lab.verb(&[&flags[..], &["--format", "json"]].concat());
    advice.expect_code(0);
    let found: serde_json::Value = serde_json::from_slice(&advice.stdout).expect("JSON");
    assert_eq!(
        (&found["needs"]["trust"], &found["needs"]["count"]),
        (&"own".into(), &3.into())
    );
    assert_eq!(found["wall"], "container", "{found}");
    assert_eq!(found["reasons"][0]["rule"], "host-features", "{found}");

    fs::write(&file, "trust = \"friend\"\n").expect("written");
    lab.verb(&["advise", "--needs", path]).expect_error(1, "needs.toml");
    lab.verb(&["advise", "--needs", "/nonexistent.toml"]).expect_error(1, "/nonexistent.toml");
    lab.verb(&["advise", "--results", "/nonexistent"]).expect_error(1, "/nonexistent");
    lab.verb(&["advise", "--count", "0"]).expect_error(2, "count");
}

pub fn a_run_takes_the_advised_wall(lab: &Lab, _: Wall) {
    let own = ["run", "--isolation", "auto", "--trust", "own", BUSYBOX, "echo", "hello"];
    let run = lab.verb(&own);
    run.expect_code(0);
    assert_eq!(run.text(), "hello\n");
    assert!(run.stderr.starts_with("bulkhead: container"), "{}", run.stderr);
    assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
}

pub fn a_hostile_run_gets_a_kernel_of_its_own(lab: &Lab, _: Wall) {
    const RELEASE: &str = "/proc/sys/kernel/osrelease";
    let args = ["run", "--isolation", "auto", "--trust", "hostile", BUSYBOX, "cat", RELEASE];
    let run = lab.verb(&args);
    run.expect_code(0);
    assert!(run.stderr.starts_with("bulkhead: microVM"), "{}", run.stderr);
    let host = fs::read_to_string(RELEASE).expect("procfs");
    assert_ne!(run.text().trim(), host.trim());
}

pub fn a_workload_is_observed(lab: &Lab, _: Wall) {
    let before = Footprint::now(lab);
    // Three system calls in each iteration at the least: open, read, close.
    let script =
        "i=0; while [ $i -lt 1000 ]; do read x </proc/uptime; i=$((i+1)); done; exit 3";
    let observe = ["advise", "--trust", "own", "--format", "json", "--observe", BUSYBOX];
    let advice = lab.verb(&[&observe[..], &["--", "sh", "-c", script]].concat());
    advice.expect_code(0);
    let found: serde_json::Value = serde_json::from_slice(&advice.stdout).expect("JSON");
    let needs = &found["needs"];
    assert!(needs["system_calls_per_second"].as_f64().expect("observed") > 0.0, "{needs}");
    assert!(needs["memory_mib"].as_f64().is_none_or(|mib| mib > 0.0), "{needs}");
    let said = &advice.stderr;
    assert!(said.contains("exit code 3"), "{said}");
    let calls = said.split_once(" in all").and_then(|(text, _)| text.rsplit_once('('));
    let calls: u64 = calls.expect("a number of calls").1.parse().expect("a number");
    assert!(calls >= 3_000, "{said}");

    // One that does not end is stopped.
    let limit = ["--observe-for", "300ms", "--", "sleep", "1000"];
    let stopped = lab.verb(&[&observe[..], &limit[..]].concat());
    stopped.expect_code(0);
    assert!(stopped.stderr.contains("until it was stopped"), "{}", stopped.stderr);
    lab.verb(&["advise", "--observe", "no-such-image"]).expect_error(1, "no-such-image");
    lab.verb(&["advise", "--observe", BUSYBOX, "--", "nothing"]).expect_error(1, "nothing");
    lab.verb(&["advise", "--", "true"]).expect_error(2, "--observe");
    Footprint::settles_to(lab, &before);
}
