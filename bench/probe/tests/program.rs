//! The program itself, as a sandbox runs it.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use bulkhead_probe::OPERATIONS;
use bulkhead_probe::line::{Line, Outcome};

fn probe(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_probe"));
    command.args(arguments);
    command
}

fn output(arguments: &[&str]) -> Output {
    probe(arguments).output().unwrap()
}

#[test]
fn says_hello_and_exits_as_told() {
    assert_eq!(output(&["hello"]).stdout, b"hello\n");
    assert_eq!(output(&["hello"]).status.code(), Some(0));
    assert_eq!(output(&["true"]).status.code(), Some(0));
    assert_eq!(output(&["exit", "127"]).status.code(), Some(127));
}

#[test]
fn explains_itself_when_misused() {
    let misuses: [&[&str]; 6] = [
        &[],
        &["nonsense"],
        &["exit", "256"],
        &["hello", "you"],
        &["ops", "--only", "getppid,nonsense"],
        &["ops", "--budget-ms"],
    ];
    for arguments in misuses {
        let output = output(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stderr.starts_with(b"usage: probe"), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

/// Starts `command`, waits until it says it is ready and sends SIGTERM to
/// `target(pid)`.
fn terminate_when_ready(mut command: Command, target: impl Fn(&Child) -> i32) -> Option<i32> {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    // SAFETY: signals a process this test started.
    assert_eq!(unsafe { libc::kill(target(&child), libc::SIGTERM) }, 0);
    child.wait().unwrap().code()
}

fn pid(child: &Child) -> i32 {
    child.id().try_into().unwrap()
}

#[test]
fn idle_ends_with_success_on_sigterm() {
    assert_eq!(terminate_when_ready(probe(&["idle"]), pid), Some(0));
}

#[test]
fn idle_ends_on_sigterm_as_pid_1_too() {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--pid", "--fork"]);
    command.args([env!("CARGO_BIN_EXE_probe"), "idle"]);
    let only_child = |child: &Child| {
        let path = format!("/proc/{0}/task/{0}/children", child.id());
        std::fs::read_to_string(path).unwrap().trim().parse().unwrap()
    };
    assert_eq!(terminate_when_ready(command, only_child), Some(0));
}

#[test]
fn ops_times_every_operation() {
    let output = output(&["ops", "--budget-ms", "1", "--repetitions", "2"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Line> = text.lines().map(|line| line.parse().unwrap()).collect();
    let names = lines.iter().map(|line| line.operation.as_str());
    assert!(names.eq(OPERATIONS.iter().flat_map(|info| [info.name; 2])), "{text}");
    let timed = |line: &Line| matches!(line.outcome, Outcome::Timed { total_ns: 1.., .. });
    assert!(lines.iter().all(timed), "{text}");
}

#[test]
fn ops_does_only_what_is_chosen() {
    let text = output(&["ops", "--budget-ms", "1", "--only", "fork_exec,getppid"]).stdout;
    let text = String::from_utf8(text).unwrap();
    let names: Vec<_> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, ["getppid", "fork_exec"]);
}

#[test]
fn manifest_fails_when_something_is_unreadable() {
    let output = output(&["manifest", "/nonexistent"]);
    assert_eq!((output.status.code(), output.stdout), (Some(1), b"/\t!2\n".to_vec()));
}
