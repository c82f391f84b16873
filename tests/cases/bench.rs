//! The harness and its report, on the walls that start in milliseconds; the
//! microVM's part of it is the main job itself.

use std::fs;
use std::path::{Path, PathBuf};

use crate::lab::{Footprint, Lab, Wall};

fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    path
}

pub fn a_report_is_rendered_again(lab: &Lab, _: Wall) {
    let before = Footprint::now(lab);
    let out = scratch("bench");
    let place = out.to_str().expect("utf-8");
    let bench =
        lab.verb(&["bench", "--runtimes", "native,container", "--seed", "7", "--out", place]);
    bench.expect_code(0);
    Footprint::settles_to(lab, &before);

    let text = fs::read(out.join("results.json")).expect("results");
    let results: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(results["run"]["seed"], 7);
    for part in ["boot", "density", "syscalls", "cells", "ratios"] {
        let entries = results[part].as_array().expect("a list");
        assert!(!entries.is_empty(), "`{part}` is empty");
    }
    let boots = results["boot"].as_array().expect("a list");
    for runtime in ["native", "container"] {
        let samples = boots.iter().filter(|sample| sample["runtime"] == runtime);
        let counted = samples.filter(|sample| sample["warm_up"] == false).count();
        assert!(counted >= 10, "{counted} samples of {runtime}");
    }
    for sample in boots {
        let clocks = sample["clocks_ns"].as_object().expect("clocks");
        let order = ["request", "workload_exec", "first_output", "exit_observed", "released"];
        let times: Vec<_> =
            order.iter().map(|clock| clocks[*clock].as_u64().expect("a clock")).collect();
        assert!(times.is_sorted(), "{sample}");
    }

    let page = fs::read_to_string(out.join("index.html")).expect("a page");
    assert!(page.contains("<svg") && page.contains("container"), "no chart in the page");
    assert!(!page.contains("src=\"http"), "the page needs a network");

    let again = scratch("report");
    lab.verb(&["report", place, "--out", again.to_str().expect("utf-8")]).expect_code(0);
    assert_eq!(fs::read_to_string(again.join("index.html")).expect("a page"), page);
}

pub fn a_damaged_results_file_is_refused(lab: &Lab, _: Wall) {
    let dir = scratch("damaged");
    fs::create_dir_all(&dir).expect("a new directory");
    let file = dir.join("results.json");
    let path = file.to_str().expect("utf-8");
    fs::write(&file, "{\"schema_version\": 1, \"run\":").expect("written");
    lab.verb(&["report", path]).expect_error(1, "results.json");
    fs::write(&file, "{\"schema_version\": 99}").expect("written");
    lab.verb(&["report", path]).expect_error(1, "99");
    lab.verb(&["report", "/nonexistent/results.json"]).expect_error(1, "/nonexistent");
}

pub fn the_host_is_profiled(lab: &Lab, _: Wall) {
    let before = Footprint::now(lab);
    let profile = lab.verb(&["bench", "host", "--format", "json"]);
    profile.expect_code(0);
    let found: serde_json::Value = serde_json::from_slice(&profile.stdout).expect("JSON");
    let profile = &found["virtualisation"];
    assert!(profile["reasons"].as_array().is_some_and(|it| !it.is_empty()), "{profile}");
    let figures = profile["figures"].as_array().expect("a list of figures");
    for name in ["vm_create", "first_entry", "pio_exit", "halt_wake", "ring0_rate"] {
        let figure = figures.iter().find(|figure| figure["name"] == name);
        let figure = figure.unwrap_or_else(|| panic!("{name} was not measured: {profile}"));
        let ends = ["low", "median", "high"].map(|end| figure[end].as_f64().expect("a number"));
        assert!(ends[0] > 0.0 && ends.is_sorted(), "{figure}");
    }
    let table = lab.verb(&["bench", "host"]);
    table.expect_code(0);
    assert!(table.text().contains("make an empty VM"), "{}", table.text());
    Footprint::settles_to(lab, &before);
}
