//! Verbs that start no sandbox.

use std::fs::File;
use std::io;
use std::process::Stdio;

use crate::images::BUSYBOX;
use crate::lab::{Lab, Wall, wait_until};

pub fn doctor_says_what_is_here(lab: &Lab, _: Wall) {
    let doctor = lab.verb(&["doctor", "--format", "json"]);
    let found: serde_json::Value = serde_json::from_slice(&doctor.stdout).expect("JSON");
    let checks = found["checks"].as_array().expect("a list of checks");
    for check in checks {
        let fine = check["ok"].as_bool().expect("a verdict");
        assert!(fine || check["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{check}");
    }
    let names: Vec<_> = checks.iter().filter_map(|check| check["name"].as_str()).collect();
    for name in ["kvm", "cgroups", "namespaces", "overlayfs", "erofs", "kernel"] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    lab.verb(&["doctor"]).expect_code(doctor.code.expect("it ended"));
}

pub fn help_and_completions_exist(lab: &Lab, _: Wall) {
    let help = lab.verb(&["--help"]);
    help.expect_code(0);
    assert!(help.text().contains("Examples:"), "{}", help.text());
    for shell in ["bash", "zsh", "fish"] {
        let script = lab.verb(&["completions", shell]);
        script.expect_code(0);
        assert!(script.text().contains("bulkhead"), "{shell}");
    }
    lab.verb(&["no-such-verb"]).expect_error(2, "no-such-verb");
    lab.verb(&["run"]).expect_error(2, "IMAGE");
}

pub fn images_come_and_go(lab: &Lab, _: Wall) {
    let archive = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("images/busybox.tar");
    let archive = archive.to_str().expect("utf-8");
    lab.verb(&["image", "import", "--name", "passing:v1", archive]).expect_code(0);
    let listed = lab.verb(&["image", "ls"]).text();
    assert!(listed.contains("passing:v1") && listed.contains(BUSYBOX), "{listed}");
    let inspect = lab.verb(&["image", "inspect", "passing:v1"]);
    let found: serde_json::Value = serde_json::from_slice(&inspect.stdout).expect("JSON");
    assert!(found["digest"].as_str().is_some_and(|d| d.starts_with("sha256:")), "{found}");
    lab.verb(&["image", "rm", "passing:v1"]).expect_code(0);
    lab.verb(&["image", "inspect", "passing:v1"]).expect_error(1, "passing:v1");
    // The other image shares its layer and still runs.
    lab.run(Wall::Container, &[BUSYBOX, "true"]).expect_code(0);
}

pub fn a_reader_that_goes_away_is_no_failure(lab: &Lab, _: Wall) {
    let results =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../reports/tests/fixtures/v1/results.json");
    let verbs: [&[&str]; 10] = [
        &["doctor"],
        &["image", "ls"],
        &["image", "inspect", BUSYBOX],
        &["kernel", "ls", "--format", "json"],
        &["gc", "--format", "json"],
        &["report", results, "--format", "json"],
        &["compare", results, results],
        &["advise", "--results", results, "--trust", "own"],
        &["completions", "bash"],
        &["--help"],
    ];
    for verb in verbs {
        let heard = lab.verb(verb);
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let mut unheard = lab.command(verb);
        let mut child = unheard.stdout(writer).stderr(Stdio::piped()).spawn().expect("started");
        let status = wait_until(&mut child, std::time::Duration::from_secs(60));
        let said = io::read_to_string(child.stderr.take().expect("piped")).expect("text");
        assert_eq!(status.code(), heard.code, "{verb:?}: {said}");
        assert!(!said.contains("panicked"), "{verb:?}: {said}");
    }
    let full = File::options().write(true).open("/dev/full").expect("a full device");
    let mut unwritten = lab.command(["image", "ls"]);
    let output = unwritten.stdout(full).output().expect("started");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("cannot write to standard output"), "{said}");
}
