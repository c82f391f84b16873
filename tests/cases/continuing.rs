//! Runs of the harness that do not get to their end at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::lab::{Footprint, Lab, Wall, wait_until};

const PATIENCE: Duration = Duration::from_secs(300);

fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    path
}

fn load(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).expect("results")).expect("JSON")
}

fn boots(results: &Value) -> &Vec<Value> {
    results["boot"].as_array().expect("a list")
}

pub fn an_interrupted_run_is_resumed(lab: &Lab, _: Wall) {
    let before = Footprint::now(lab);
    let out = scratch("interrupted");
    let place = out.to_str().expect("utf-8");
    let bench = [
        "bench",
        "--runtimes",
        "native,container",
        "--workloads",
        "boot,syscalls",
        "--samples",
        "2",
        "--out",
        place,
    ];
    let mut child = lab.command(bench).spawn().expect("the binary under test starts");
    // The first copy is kept when everything is ready to measure.
    let (checkpoint, started) = (out.join("checkpoint.json"), Instant::now());
    while !checkpoint.exists() {
        assert!(started.elapsed() < PATIENCE, "nothing is measured");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    kill(pid, Signal::SIGINT).expect("it runs");
    assert_eq!(wait_until(&mut child, PATIENCE).code(), Some(130));
    Footprint::settles_to(lab, &before);

    let file = out.join("results.json");
    let first = load(&file);
    assert_eq!(first["run"]["partial"], true);
    assert!(!checkpoint.exists(), "it would be an older copy");
    let report = fs::read_to_string(out.join("report.md")).expect("a report");
    assert!(report.contains("interrupted"), "the report does not say that it is partial");

    let other = first.to_string().replace("\"kernel\":\"", "\"kernel\":\"other-");
    let elsewhere = scratch("interrupted-elsewhere");
    fs::create_dir_all(&elsewhere).expect("a new directory");
    fs::write(elsewhere.join("results.json"), other).expect("written");
    lab.verb(&["bench", "--resume", elsewhere.to_str().expect("utf-8")])
        .expect_error(1, "kernel of the host");

    lab.verb(&["bench", "--resume", place]).expect_code(0);
    let whole = load(&file);
    assert_eq!(whole["run"]["partial"], false);
    assert_eq!(whole["run"]["seed"], first["run"]["seed"]);
    assert_eq!(boots(&whole)[..boots(&first).len()], boots(&first)[..], "samples are kept");
    assert!(boots(&whole).len() > boots(&first).len());
    lab.verb(&["bench", "--resume", place]).expect_error(1, "not interrupted");
}

pub fn a_full_disk_costs_no_sample(lab: &Lab, _: Wall) {
    let disk = scratch("small-disk");
    fs::create_dir_all(&disk).expect("a new directory");
    // Room for what is kept before anything is measured, and for little else.
    mount(Some("none"), &disk, Some("tmpfs"), MsFlags::empty(), Some("size=32k"))
        .expect("a small disk");
    let place = disk.to_str().expect("utf-8");
    let bench = lab.verb(&[
        "bench",
        "--runtimes",
        "native",
        "--workloads",
        "boot,syscalls",
        "--samples",
        "3",
        "--seed",
        "1",
        "--out",
        place,
    ]);
    umount2(&disk, MntFlags::empty()).expect("unmounted");
    bench.expect_error(1, "No space left");
    let words = bench.stderr.split_whitespace();
    let refuge = words
        .map(|word| word.trim_end_matches(';'))
        // The build may itself be below /tmp.
        .filter(|word| !word.starts_with(place))
        .find(|word| word.starts_with("/dev/shm/") || word.starts_with("/tmp/"));
    let refuge = Path::new(refuge.expect("it says where the results are"));
    let results = load(refuge);
    assert!(!boots(&results).is_empty());
    assert_eq!(results["run"]["partial"], false);
    let again = scratch("after-the-full-disk");
    lab.verb(&[
        "report",
        refuge.to_str().expect("utf-8"),
        "--out",
        again.to_str().expect("utf-8"),
    ])
    .expect_code(0);
    fs::remove_file(refuge).expect("removed");
}
