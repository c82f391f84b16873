//! Tests that the documented schema is the one that is written: the JSON Schema
//! is derived from the types, its documentation from the JSON Schema, and real
//! results are checked by a validator that knows neither.
//!
//! After a change of the types: `UPDATE_SCHEMA=1 cargo test -p bulkhead-reports described`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::schema::{Results, SCHEMA_VERSION};
use crate::{html, load, markdown, sample, samples, terminal};

/// Between these, `docs/results-schema.md` is written by this test.
const BEGIN: &str = "<!-- begin: derived from the types -->\n";
const END: &str = "<!-- end: derived from the types -->\n";

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The JSON Schema of the types as they are.
fn derived() -> Value {
    let mut schema = schemars::schema_for!(Results).to_value();
    nullable(&mut schema);
    schema["title"] = "Results of bulkhead bench".into();
    schema["properties"]["schema_version"]["maximum"] = SCHEMA_VERSION.into();
    schema["properties"]["schema_version"]["minimum"] = 1.into();
    schema
}

/// A figure that could not be computed is `null`: JSON has no NaN.
fn nullable(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.get("type") == Some(&json!("number")) {
                object.insert("type".to_owned(), json!(["number", "null"]));
            }
            object.values_mut().for_each(nullable);
        }
        Value::Array(list) => list.iter_mut().for_each(nullable),
        _ => {}
    }
}

/// Writes `expected` where updates are asked for; fails where the file differs.
fn is_kept(path: &Path, expected: &str) {
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(path, expected).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    let name = path.display();
    assert!(kept == expected, "{name} is not that of the types: see the head of this module");
}

#[test]
fn the_schema_in_the_documentation_is_that_of_the_types() {
    let text = serde_json::to_string_pretty(&derived()).unwrap() + "\n";
    is_kept(&in_repository("docs/results.schema.json"), &text);
}

#[test]
fn the_documentation_has_every_field() {
    let path = in_repository("docs/results-schema.md");
    let kept = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = kept.split_once(BEGIN).expect("the beginning of the derived part");
    let (_, after) = rest.split_once(END).expect("the end of the derived part");
    is_kept(&path, &format!("{before}{BEGIN}{}{END}{after}", tables(&derived())));
}

/// A table for each type, `Results` first.
fn tables(schema: &Value) -> String {
    let mut out = String::new();
    table(&mut out, "Results", schema);
    for (name, kind) in schema["$defs"].as_object().into_iter().flatten() {
        table(&mut out, name, kind);
    }
    out
}

fn table(out: &mut String, name: &str, kind: &Value) {
    let _ = writeln!(out, "\n### {name}\n\n{}\n", sentence(kind));
    if let Some(values) = kind["oneOf"].as_array() {
        for value in values {
            let _ =
                writeln!(out, "- `{}`: {}", value["const"].as_str().unwrap(), sentence(value));
        }
        return;
    }
    out.push_str("| Field | Type | Meaning |\n| --- | --- | --- |\n");
    let required = kind["required"].as_array().cloned().unwrap_or_default();
    for (field, value) in kind["properties"].as_object().into_iter().flatten() {
        let optional = if required.contains(&json!(field)) { "" } else { ", may be missing" };
        let kind = type_of(value);
        let _ = writeln!(out, "| `{field}` | {kind}{optional} | {} |", sentence(value));
    }
}

fn sentence(value: &Value) -> String {
    let text = value["description"].as_str().unwrap_or_default();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // Links of the documentation of the code lead nowhere here.
    text.replace("[`", "`").replace("`]", "`").replace('|', "\\|")
}

fn type_of(value: &Value) -> String {
    let named = |reference: &str| {
        let name = reference.rsplit('/').next().unwrap_or_default();
        format!("[{name}](#{})", name.to_lowercase())
    };
    if let Some(reference) = value["$ref"].as_str() {
        return named(reference);
    }
    if let Some(options) = value["anyOf"].as_array().or(value["allOf"].as_array()) {
        return options.iter().map(type_of).collect::<Vec<_>>().join(" or ");
    }
    let kinds: Vec<&str> = match &value["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    };
    let word = |kind: &&str| match *kind {
        "array" => format!("list of {}", type_of(&value["items"])),
        "object" => format!("by name: {}", type_of(&value["additionalProperties"])),
        other => other.to_owned(),
    };
    kinds.iter().map(word).collect::<Vec<_>>().join(" or ")
}

/// Real results: of the first version of the schema, and of the sample report.
const REAL: [&str; 2] =
    ["reports/tests/fixtures/v1/results.json", "reports/sample/results.json"];

fn read(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(in_repository(path)).unwrap()).unwrap()
}

#[test]
fn real_and_made_up_results_keep_to_the_schema() {
    let validator = jsonschema::validator_for(&derived()).unwrap();
    let mut odd = sample::rich();
    odd.cells[0].low = f64::NAN;
    let made_up = [sample::results(), sample::rich(), sample::warm(), odd];
    let all = made_up.iter().map(|results| serde_json::to_value(results).unwrap());
    for (index, value) in all.chain(REAL.map(read)).enumerate() {
        let faults: Vec<String> = validator
            .iter_errors(&value)
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{index}: {faults:?}");
    }
}

#[test]
fn the_schema_refuses_what_the_types_refuse() {
    let validator = jsonschema::validator_for(&derived()).unwrap();
    let good = serde_json::to_value(sample::rich()).unwrap();
    let spoilt = |pointer: &str, value: Value| {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        bad
    };
    for bad in [
        spoilt("/schema_version", json!(SCHEMA_VERSION + 1)),
        spoilt("/run/seed", json!("42")),
        spoilt("/boot/0/clocks_ns", json!({ "first_output": -1 })),
        spoilt("/attempts/0/outcome", json!("escaped")),
        spoilt("/cells", json!(null)),
        spoilt("/host", json!({})),
    ] {
        assert!(!validator.is_valid(&bad));
        let newer = bad["schema_version"] != good["schema_version"];
        assert!(newer || serde_json::from_value::<Results>(bad).is_err());
    }
}

#[test]
fn results_of_the_first_version_stay_readable() {
    let results = load(&in_repository(REAL[0])).unwrap();
    assert_eq!(results.schema_version, 1);
    // It says so of what it did not measure.
    assert!(results.measurements.is_empty() && results.attempts.is_empty());
    assert!(results.virtualisation.is_none() && results.noise.is_empty());
    let starts = samples::of(&results, "boot", crate::clocks::START_METRIC, "container");
    assert_eq!(starts.len(), 8);
    for text in
        [terminal::summary(&results), markdown::render(&results), html::render(&results)]
    {
        assert!(text.contains("330\u{a0}µs") && text.contains("microvm"), "{text}");
    }
    assert!(html::render(&results).contains("not measured in this run"));
}
