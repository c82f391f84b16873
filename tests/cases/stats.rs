//! What running sandboxes use, as `bulkhead stats` says.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use crate::images::BUSYBOX;
use crate::lab::{Footprint, Lab, Wall, wait_until};

pub fn a_running_sandbox_is_accounted_for(lab: &Lab, wall: Wall) {
    let before = Footprint::now(lab);
    let options = ["--name", "counted", "--memory", "64m", BUSYBOX];
    let arguments = [&options[..], &["sh", "-c", "echo up; cat"]].concat();
    let mut run = lab.run_command(wall, &arguments);
    let mut child =
        run.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("bulkhead starts");
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    output.read_line(&mut line).expect("it says that it is up");

    let table = lab.verb(&["stats"]).expect_code(0).text();
    assert!(table.contains("counted") && table.contains(wall.name()), "{table}");
    let json = lab.verb(&["stats", "counted", "--format", "json"]).expect_code(0).text();
    let rows: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let number = |key: &str| rows[0][key].as_u64().unwrap_or_else(|| panic!("{key}: {json}"));
    assert_eq!(number("memory_limit_bytes"), 64 << 20);
    let touched = number("touched_bytes");
    assert!(0 < touched && number("proportional_bytes") <= touched, "{json}");
    assert!(number("shared_bytes") <= touched && number("cpu_nanoseconds") > 0, "{json}");
    assert!(number("processes") >= 1, "{json}");

    drop(child.stdin.take());
    assert!(wait_until(&mut child, Duration::from_secs(60)).success());
    lab.verb(&["stats", "counted"]).expect_error(1, "no sandbox called counted");
    Footprint::settles_to(lab, &before);
}
