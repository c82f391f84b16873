//! The isolation scorecard, and whether what it says can be seen on the host by
//! other eyes than its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::lab::{Footprint, Lab, Wall, entries};

/// What undoes most of a container.
const WEAK: [&str; 4] = ["--cap-add", "ALL", "--seccomp", "unconfined"];

const SETTING: &str = "/proc/sys/fs/lease-break-time";

/// Outcomes by attempt.
type Card = BTreeMap<String, String>;

/// Runs the scorecard and gives what it says of `wall`.
fn scorecard(lab: &Lab, wall: Wall, options: &[&str]) -> (Card, serde_json::Value) {
    let name = format!("scorecard-{}-{}", wall.name(), options.len());
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&out);
    let before = (Footprint::now(lab), fs::read_to_string(SETTING).ok());
    let place = out.to_str().expect("utf-8");
    let first =
        ["bench", "--workloads", "isolation", "--runtimes", wall.name(), "--out", place];
    lab.verb(&[&first, options].concat()).expect_code(0);
    Footprint::settles_to(lab, &before.0);
    assert_eq!(fs::read_to_string(SETTING).ok(), before.1, "a setting was not put back");
    assert_eq!(crate::lab::processes_mentioning("bulkhead-canary"), 0, "a canary is alive");

    let text = fs::read(out.join("results.json")).expect("results");
    let results: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(results["omitted"], serde_json::json!([]));
    let attempts = results["attempts"].as_array().expect("a list");
    let card = attempts.iter().map(|attempt| {
        assert_ne!(attempt["evidence"], "", "{attempt}");
        let word = |key: &str| attempt[key].as_str().expect("a word").to_owned();
        (word("attempt"), word("outcome"))
    });
    (card.collect(), results)
}

/// Every attempt is judged, bombs are held, nothing of the host is reached.
pub fn nothing_reaches_the_host(lab: &Lab, wall: Wall) {
    let (card, results) = scorecard(lab, wall, &[]);
    assert_eq!(card.len(), 18, "{card:?}");
    for (attempt, outcome) in &card {
        let held = if attempt.ends_with("_bomb") {
            outcome == "limited"
        } else {
            outcome == "contained" || outcome == "refused"
        };
        assert!(held, "{attempt}: {outcome}");
    }
    let surface = &results["surfaces"][0];
    let calls = surface["system_calls"].as_object().expect("calls").len();
    let process = &surface["processes"][0];
    assert_eq!(process["seccomp_filter"], true, "{process}");
    match wall {
        // The work makes some thirty different calls: all the container's reach the
        // host, and none of the machine's.
        Wall::Container => {
            assert!(calls > 25, "{calls}");
            assert_eq!(process["role"], "workload");
            assert_eq!(process["capabilities"].as_array().map(Vec::len), Some(14));
        }
        _ => {
            assert!((1..25).contains(&calls), "{calls}");
            assert_eq!(process["role"], "monitor");
            // The kernel of its own lets its root do what the container's may not.
            assert_eq!(card["nested_user_namespace"], "contained");
        }
    }
}

/// Native: everything that is not a bomb and that this host's kernel has.
pub fn the_host_is_reached_without_a_wall(lab: &Lab, _: Wall) {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("scorecard-native");
    let _ = fs::remove_dir_all(&out);
    let place = out.to_str().expect("utf-8");
    let verb = ["bench", "--workloads", "isolation", "--runtimes", "native", "--out", place];
    lab.verb(&verb).expect_code(0);
    let text = fs::read(out.join("results.json")).expect("results");
    let results: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    for attempt in results["attempts"].as_array().expect("a list") {
        let name = attempt["attempt"].as_str().expect("a word");
        if name.ends_with("_bomb") {
            assert_eq!(attempt["outcome"], "not_run", "{attempt}");
        } else if ["host_processes", "host_files", "write_host_file", "mount"].contains(&name) {
            assert_eq!(attempt["outcome"], "reached", "{attempt}");
        }
    }
    assert!(
        !fs::read_to_string("/proc/self/mountinfo")
            .expect("procfs")
            .contains("bulkhead-isolation")
    );
}

/// A weakened container is shown to be weaker, and what the scorecard says of
/// either is what this test sees on the host itself.
pub fn a_weakened_container_is_shown_weaker(lab: &Lab, wall: Wall) {
    let (sound, _) = scorecard(lab, wall, &[]);
    let (weak, results) = scorecard(lab, wall, &WEAK);
    assert_eq!(results["surfaces"][0]["processes"][0]["seccomp_filter"], false);
    let flipped: Vec<&str> = sound
        .iter()
        .filter(|(attempt, outcome)| *outcome != "reached" && weak[*attempt] == "reached")
        .map(|(attempt, _)| attempt.as_str())
        .collect();
    assert_eq!(weak["mount"], "contained", "it mounts, in a namespace of its own");
    for attempt in ["write_proc_sys", "set_clock", "nested_user_namespace"] {
        assert!(flipped.contains(&attempt), "{attempt} is not among {flipped:?}");
    }
    assert!(weak.iter().all(|(name, how)| !name.ends_with("_bomb") || how == "limited"));

    for (attempt, arguments, look) in LOOKS {
        for (card, options) in [(&sound, &[][..]), (&weak, &WEAK[..])] {
            let seen = seen_on_host(lab, options, attempt, arguments, *look);
            assert_eq!(seen, card[*attempt] == "reached", "{attempt} {options:?}");
        }
    }
}

/// Whether the host shows it, given the processes of the sandbox.
type Look = fn(&[PathBuf]) -> bool;

const LOOKS: &[(&str, &[&str], Look)] = &[
    ("keyctl", &["bulkhead-test-key"], |_| {
        fs::read_to_string("/proc/keys").unwrap_or_default().contains("bulkhead-test-key")
    }),
    ("bpf", &[], |family| holds(family, "anon_inode:bpf-prog")),
    ("perf_event_open", &[], |family| holds(family, "anon_inode:[perf_event]")),
    ("io_uring", &[], |family| holds(family, "anon_inode:[io_uring]")),
    ("write_proc_sys", &["fs/lease-break-time", "47", "/own"], |_| {
        fs::read_to_string(SETTING).is_ok_and(|value| value.trim() == "47")
    }),
    ("nested_user_namespace", &[], |family| {
        let host = fs::read_link("/proc/self/ns/user").expect("a namespace");
        family.iter().any(|process| {
            fs::read_link(process.join("ns/user")).is_ok_and(|namespace| namespace != host)
        })
    }),
];

fn holds(family: &[PathBuf], what: &str) -> bool {
    let descriptors = family.iter().flat_map(|process| entries(&process.join("fd")));
    descriptors.filter_map(|fd| fs::read_link(fd).ok()).any(|link| link == Path::new(what))
}

/// Makes one attempt in a container and looks at the host while it is held.
fn seen_on_host(
    lab: &Lab,
    options: &[&str],
    attempt: &str,
    arguments: &[&str],
    look: Look,
) -> bool {
    let command = [options, &["probe", "attempt", attempt], arguments].concat();
    let mut run = lab
        .run_command(Wall::Container, &command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary under test starts");
    let mut line = String::new();
    let mut reader = BufReader::new(run.stdout.take().expect("piped"));
    reader.read_line(&mut line).expect("a report");
    assert!(line.starts_with(attempt), "{line}");
    let seen = look(&below(run.id()));
    run.stdin.take().expect("piped").write_all(b"\n").expect("it still waits");
    assert!(run.wait().expect("our own child").success());
    seen
}

/// The descendants of a process, as directories of procfs.
fn below(pid: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut next = vec![pid.to_string()];
    while let Some(pid) = next.pop() {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        next.extend(children.split_whitespace().map(str::to_owned));
        found.push(Path::new("/proc").join(pid));
    }
    found
}

/// Privileges are what was asked for, and what makes no sense is refused.
pub fn privileges_are_given_and_taken(lab: &Lab, wall: Wall) {
    let capabilities = |options: &[&str]| {
        let status = ["probe", "attempt", "mount", "/x", "name"];
        lab.run(wall, &[options, &status].concat()).text()
    };
    assert_eq!(capabilities(&[]), "mount error 1\n");
    assert_eq!(capabilities(&["--cap-add", "SYS_ADMIN"]), "mount ok mounted at /x\n");
    assert_eq!(capabilities(&["--seccomp", "unconfined"]), "mount error 1\n");
    let socket = |options: &[&str]| {
        lab.run(wall, &[options, &["probe", "attempt", "raw_socket"]].concat()).text()
    };
    assert!(socket(&[]).contains("ok"));
    assert_eq!(socket(&["--cap-drop", "NET_RAW"]), "raw_socket error 1\n");
    assert_eq!(socket(&["--cap-drop", "all"]), "raw_socket error 1\n");

    let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join("profile.json");
    let path = profile.to_str().expect("utf-8");
    let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls":
        [{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}"#;
    fs::write(&profile, text).expect("written");
    assert_eq!(socket(&["--seccomp", path]), "raw_socket error 95\n");
    fs::write(&profile, "{}").expect("written");
    lab.run(wall, &["--seccomp", path, "probe", "true"]).expect_error(125, "not a seccomp");
    lab.run(wall, &["--seccomp", "/nowhere", "probe", "true"]).expect_error(125, "/nowhere");
    lab.run(wall, &["--cap-add", "MAGIC", "probe", "true"]).expect_error(125, "MAGIC");
}

/// A filter between a workload and a kernel of its own is refused, not ignored.
pub fn a_filter_is_for_containers(lab: &Lab, wall: Wall) {
    let run = lab.run(wall, &["--seccomp", "unconfined", "probe", "true"]);
    run.expect_error(125, "kernel of its own");
}
