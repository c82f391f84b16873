//! Advice, and runs that take it.

use std::fs;
use std::path::Path;

use crate::images::BUSYBOX;
use crate::lab::{Lab, Wall};

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
