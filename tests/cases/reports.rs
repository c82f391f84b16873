//! Reports and comparisons of saved results: no sandbox, no measurement.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::lab::{Lab, Wall};

/// A real results file, of an earlier version of the schema.
const FIRST: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../reports/tests/fixtures/v1/results.json");

fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("a new directory");
    path
}

fn first() -> Value {
    serde_json::from_slice(&fs::read(FIRST).expect("the fixture")).expect("JSON")
}

fn written(dir: &Path, name: &str, results: &Value) -> String {
    let path = dir.join(name);
    fs::write(&path, results.to_string()).expect("written");
    path.to_str().expect("utf-8").to_owned()
}

pub fn reports_come_in_every_format(lab: &Lab, _: Wall) {
    for (format, expected) in [
        ("text", "What each wall costs"),
        ("html", "<!doctype html>"),
        ("md", "# What each wall costs"),
        ("csv", "workload,metric,runtime,unit"),
    ] {
        let shown = lab.verb(&["report", FIRST, "--format", format]);
        shown.expect_code(0);
        assert!(shown.text().contains(expected), "{format}: {expected:?} is missing");
    }
    let shown = lab.verb(&["report", FIRST, "--format", "json"]);
    let again: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(again["boot"], first()["boot"]);
    let beside = Path::new(FIRST).with_file_name("index.html");
    assert!(!beside.exists(), "--format wrote a file");
}

pub fn a_regression_has_an_exit_code_of_its_own(lab: &Lab, _: Wall) {
    let dir = scratch("compare");
    let page = dir.join("compare.html");
    let page = page.to_str().expect("utf-8");
    let same = lab.verb(&["compare", FIRST, FIRST, "--fail-on-regression", "0%"]);
    same.expect_code(0);
    assert!(same.text().contains("None of"), "{}", same.text());

    // Every start of the container takes half as long again, on another host.
    let mut slower = first();
    for sample in slower["boot"].as_array_mut().expect("a list") {
        if sample["runtime"] == "container" {
            for clock in sample["clocks_ns"].as_object_mut().expect("clocks").values_mut() {
                *clock = (clock.as_u64().expect("a clock") * 3 / 2).into();
            }
        }
    }
    slower["host"]["cpu_model"] = "Another processor".into();
    let slower = written(&dir, "slower.json", &slower);
    let found = lab.verb(&[
        "compare",
        FIRST,
        &slower,
        "--fail-on-regression",
        "5%",
        "--html",
        page,
        "--format",
        "json",
    ]);
    found.expect_error(3, "boot: request→first_output, container is 50.0 % worse");
    let comparison: Value = serde_json::from_slice(&found.stdout).expect("JSON");
    let changes = comparison["changes"].as_array().expect("a list");
    for change in changes.iter().filter(|change| change["verdict"] == "worse") {
        assert_eq!(
            (&change["runtime"], &change["workload"]),
            (&"container".into(), &"boot".into())
        );
    }
    assert!(fs::read_to_string(page).expect("a page").contains("Different hosts"));
    // The same difference is an improvement the other way round, and no
    // regression of more than half.
    lab.verb(&["compare", &slower, FIRST, "--fail-on-regression", "5%"]).expect_code(0);
    lab.verb(&["compare", FIRST, &slower, "--fail-on-regression", "60%"]).expect_code(0);
    let shown = lab.verb(&["compare", FIRST, &slower]);
    assert!(shown.text().contains("DIFFERENT HOSTS"), "{}", shown.text());

    let mut nothing = first();
    nothing["cells"] = Value::Array(vec![]);
    nothing["fits"] = Value::Array(vec![]);
    let nothing = written(&dir, "nothing.json", &nothing);
    lab.verb(&["compare", FIRST, &nothing]).expect_error(1, "no metric in common");
    fs::write(dir.join("cut.json"), &fs::read(FIRST).expect("the fixture")[..5000])
        .expect("cut");
    let cut = dir.join("cut.json");
    lab.verb(&["compare", FIRST, cut.to_str().expect("utf-8")]).expect_error(1, "truncated");
    lab.verb(&["compare", FIRST, FIRST, "--fail-on-regression", "lots"]).expect_error(2, "5%");
}

pub fn lists_are_json_too(lab: &Lab, _: Wall) {
    for verb in [vec!["image", "ls"], vec!["kernel", "ls"], vec!["gc", "--dry-run"]] {
        let shown = lab.verb(&[verb.as_slice(), &["--format", "json"]].concat());
        shown.expect_code(0);
        let list: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
        assert!(list.is_array(), "{verb:?}: {list}");
    }
}
