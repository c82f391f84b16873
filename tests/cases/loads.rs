//! The further workloads, and commands of the user's own.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::images::BUSYBOX;
use crate::lab::{Finished, Footprint, Lab, Wall, entries};

fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    path
}

fn results(out: &Path) -> Value {
    let text = fs::read(out.join("results.json")).expect("results");
    serde_json::from_slice(&text).expect("JSON")
}

/// `bulkhead bench custom`, results in `out`.
fn custom(lab: &Lab, out: &Path, options: &[&str], rest: &[&str]) -> Finished {
    let place = out.to_str().expect("utf-8");
    let mut arguments = vec!["bench", "custom", "--out", place];
    arguments.extend(options);
    arguments.extend(rest);
    lab.verb(&arguments)
}

pub fn further_workloads_give_figures(lab: &Lab, wall: Wall) {
    let before = Footprint::now(lab);
    let out = scratch("loads");
    let workloads = "lifecycle,compute,files,storm";
    lab.verb(&[
        "bench",
        "--runtimes",
        wall.name(),
        "--workloads",
        workloads,
        "--samples",
        "1",
        "--out",
        out.to_str().expect("utf-8"),
    ])
    .expect_code(0);
    Footprint::settles_to(lab, &before);

    let results = results(&out);
    let measurements = results["measurements"].as_array().expect("a list");
    for metric in [
        "exec→first_output",
        "SIGTERM→exit_observed",
        "exit_observed→released",
        "SHA-256 of 4 KiB",
        "image: read, first",
        "writable layer: random 4 KiB write and fsync",
        "1 at once: last first_output",
        "2 at once: last first_output",
    ] {
        let of_metric = |it: &&Value| it["metric"] == metric;
        let value = measurements.iter().find(of_metric).map(|it| &it["value"]);
        let value = value.and_then(Value::as_f64).unwrap_or_default();
        assert!(value > 0.0, "{metric}: {value} in {}", results["omitted"]);
    }
    assert!(results["boot"].as_array().expect("a list").is_empty(), "it was not chosen");
}

/// Those in the store, and whatever is hidden beside them.
fn templates(lab: &Lab) -> Vec<PathBuf> {
    let dir = lab.store.join("templates");
    if dir.is_dir() { entries(&dir) } else { Vec::new() }
}

pub fn warm_starts_are_measured_beside_cold_ones(lab: &Lab, wall: Wall) {
    let (before, kept) = (Footprint::now(lab), templates(lab));
    let out = scratch("warm");
    let place = out.to_str().expect("utf-8");
    let what = ["--runtimes", wall.name(), "--start", "warm,app", "--workloads", "boot,storm"];
    let arguments = [&["bench", "--samples", "1", "--out", place], &what[..]].concat();
    lab.verb(&arguments).expect_code(0);
    Footprint::settles_to(lab, &before);
    assert_eq!(templates(lab), kept, "the run's own is gone, the user's are as they were");

    let results = results(&out);
    let starts = results["boot"].as_array().expect("a list");
    let at = |start: &Value, clock: &str| start["clocks_ns"][clock].as_u64();
    let of = |name: &str| {
        let mine: Vec<&Value> = starts.iter().filter(|it| it["runtime"] == name).collect();
        assert!(mine.len() >= 2, "{name}: {}", results["omitted"]);
        mine
    };
    let cold = of(wall.name());
    for start in of(&format!("{}-warm", wall.name())) {
        assert_eq!(at(start, "kernel_done"), None, "it booted");
        assert!(at(start, "agent_ready") < at(start, "workload_exec"), "{start}");
        let counted = &start["kvm_at"]["workload_exec"]["exits"];
        assert!(counted.as_u64() > Some(0), "{}", start["kvm_at"]);
        let first = at(start, "first_output");
        assert!(cold.iter().all(|cold| first < at(cold, "first_output")), "{start}");
    }
    for start in of(&format!("{}-app", wall.name())) {
        assert_eq!(at(start, "workload_exec"), None, "something was executed");
        let first = at(start, "first_output");
        assert!(cold.iter().all(|cold| first < at(cold, "first_output")), "{start}");
    }
    let storm = |it: &Value| it["runtime"] == "microvm-warm" && it["workload"] == "storm";
    let measured = results["measurements"].as_array().expect("a list").iter();
    assert!(measured.filter(|it| storm(it)).count() >= 4, "{}", results["omitted"]);
}

pub fn a_command_does_the_same_behind_both_walls(lab: &Lab, _: Wall) {
    let out = scratch("custom");
    let finished =
        custom(lab, &out, &["--samples", "1", "probe"], &["--", "manifest", "/data"]);
    finished.expect_code(0);
    assert!(
        finished.text().contains("all 2 runtimes agree: exit code 0"),
        "{}",
        finished.text()
    );
    let results = results(&out);
    let outcomes = results["outcomes"].as_array().expect("a list");
    assert_eq!(outcomes.len(), 2, "{outcomes:?}");
    assert!(outcomes.iter().all(|it| it["stdout_bytes"].as_u64() > Some(0)), "{outcomes:?}");
    let peak = |it: &Value| it["metric"] == "peak memory" && it["value"].as_f64() > Some(0.0);
    assert!(results["measurements"].as_array().expect("a list").iter().any(peak));
}

pub fn a_command_does_the_same_in_another_monitor(lab: &Lab, wall: Wall) {
    let before = Footprint::now(lab);
    let out = scratch("monitor");
    let runtimes = format!("container,{}", wall.name());
    let options = ["--runtimes", &runtimes, "--samples", "1", BUSYBOX];
    let finished = custom(lab, &out, &options, &["--", "sh", "-c", "echo out; exit 7"]);
    finished.expect_code(0);
    Footprint::settles_to(lab, &before);

    let results = results(&out);
    let outcomes = results["outcomes"].as_array().expect("a list");
    let of_peer = outcomes.iter().find(|it| it["runtime"] == wall.name());
    let outcome = of_peer.unwrap_or_else(|| panic!("it did not run: {}", results["omitted"]));
    assert_eq!((&outcome["exit_code"], &outcome["stdout_bytes"]), (&7.into(), &4.into()));
    let said = "all 2 runtimes agree: exit code 7";
    assert!(finished.text().contains(said), "{}", finished.text());
}

pub fn a_command_that_does_not_is_a_failure(lab: &Lab, _: Wall) {
    // What a plain process finds in `/` is the host's.
    let options = ["--runtimes", "native,container", "--samples", "1", "probe"];
    let out = scratch("differs");
    let finished = custom(lab, &out, &options, &["--", "manifest", "/data"]);
    finished.expect_error(1, "THE RUNTIMES DIFFER");
    assert_eq!(results(&out)["outcomes"].as_array().expect("a list").len(), 2);
}

pub fn a_command_that_cannot_run_is_said(lab: &Lab, _: Wall) {
    let before = Footprint::now(lab);
    let options = ["--runtimes", "container", "--timeout", "100ms", "--samples", "1", "probe"];
    let finished = custom(lab, &scratch("hangs"), &options, &["--", "idle"]);
    finished.expect_error(1, "no run of the command came to its end");
    let said = "no end of the workload within";
    assert!(finished.text().contains(said), "{}", finished.text());
    custom(lab, &scratch("no-image"), &["nonexistent"], &["--", "x"])
        .expect_error(1, "no image called");
    Footprint::settles_to(lab, &before);
}
