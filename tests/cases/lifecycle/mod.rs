//! Sandboxes in the background: every verb that deals with them, behind both walls.

mod ends;
mod restarts;
mod streams;

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::images::BUSYBOX;
use crate::lab::{Finished, Footprint, Lab, Wall};

pub use ends::{a_killed_supervisor_leaves_nothing_that_gc_does_not_remove, stops_and_kills};
pub use restarts::{health_is_checked_inside, policies_start_again};
pub use streams::{
    a_terminal_in_the_background_is_one, attached_streams_are_carried,
    input_is_carried_to_its_end, logs_are_kept_bounded_and_followed,
};

/// A microVM boots for seconds, and longer on a busy host.
const LIMIT: Duration = Duration::from_secs(120);

/// `bulkhead run --detach` behind `wall`; gives the id.
fn detached(lab: &Lab, wall: Wall, arguments: &[&str]) -> String {
    let run = lab.run(wall, &[&["--detach"], arguments].concat());
    run.expect_code(0);
    let id = run.text().trim().to_owned();
    assert_eq!((id.len(), run.text().lines().count()), (64, 1), "{}", run.text());
    id
}

/// What is there before a test. What a failed one has left is nobody's business.
fn begin(lab: &Lab) -> Footprint {
    for left in names(lab, &["-a"]) {
        lab.verb(&["rm", "-f", &left]);
    }
    Footprint::now(lab)
}

/// Runs a verb that has to succeed.
#[track_caller]
fn done(lab: &Lab, arguments: &[&str]) -> Finished {
    let finished = lab.verb(arguments);
    finished.expect_code(0);
    finished
}

/// What `inspect` knows of one sandbox.
#[track_caller]
fn known(lab: &Lab, name: &str) -> Value {
    let text = done(lab, &["inspect", name]).text();
    let all: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    all.into_iter().next().expect("one sandbox")
}

#[track_caller]
fn status(lab: &Lab, name: &str) -> String {
    known(lab, name)["state"]["status"].as_str().expect("a status").to_owned()
}

/// Waits until `is_so`.
#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < LIMIT, "{what} takes too long");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The names that `ps` shows with these options.
fn names(lab: &Lab, options: &[&str]) -> Vec<String> {
    let text = done(lab, &[&["ps", "--format", "json"], options].concat()).text();
    let all: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    all.iter().map(|row| row["name"].as_str().expect("a name").to_owned()).collect()
}

pub fn a_sandbox_in_the_background_is_named_listed_and_removed(lab: &Lab, wall: Wall) {
    let before = begin(lab);
    let options = ["--name", "web", "-l", "tier=front", BUSYBOX, "sleep", "1000"];
    let id = detached(lab, wall, &options);
    for name in ["web", &id, &id[..12], &id[..6]] {
        assert_eq!(known(lab, name)["id"], id.as_str(), "{name}");
    }
    assert_eq!(names(lab, &[]), ["web"]);
    for fits in ["name=we", "label=tier=front", "status=running", "ancestor=busybox-test"] {
        assert_eq!(names(lab, &["--filter", fits]), ["web"], "{fits}");
    }
    let isolation = format!("isolation={}", wall.name());
    assert_eq!(names(lab, &["--filter", &isolation]), ["web"]);
    assert!(names(lab, &["--filter", "label=tier=back"]).is_empty());
    let table = done(lab, &["ps"]).text();
    assert!(table.contains(&id[..12]) && table.contains(" web\n") && table.contains("Up "));
    assert_eq!(done(lab, &["ps", "-q", "--no-trunc"]).text(), format!("{id}\n"));

    // A name is taken once; one that is free can be had.
    let again = lab.run(wall, &["-d", "--name", "web", BUSYBOX, "true"]);
    again.expect_error(125, "the name web is taken");
    done(lab, &["rename", "web", "shop"]);
    lab.verb(&["inspect", "web"]).expect_error(1, "no sandbox called web");
    assert_eq!(known(lab, "shop")["id"], id.as_str());

    // What runs is not removed by accident.
    lab.verb(&["rm", "shop"]).expect_error(1, "sandbox shop is running");
    done(lab, &["rm", "--force", "shop"]);
    assert!(names(lab, &["-a"]).is_empty());
    Footprint::settles_to(lab, &before);

    let said =
        done(lab, &["events", "--since", "10m", "--until", "0s", "--filter", "sandbox=shop"]);
    let said = said.text();
    for action in ["rename", "kill", "die", "destroy"] {
        assert!(said.contains(&format!(" container {action} {id} ")), "{action}: {said}");
    }
}

pub fn a_sandbox_is_made_started_and_started_again(lab: &Lab, wall: Wall) {
    let before = begin(lab);
    let script = "echo begun; cat /tmp/mark 2>/dev/null; echo x > /tmp/mark; exit 3";
    let arguments =
        ["create", "--isolation", wall.name(), "--name", "job", BUSYBOX, "sh", "-c", script];
    done(lab, &arguments);
    assert_eq!(status(lab, "job"), "created");
    assert!(names(lab, &[]).is_empty());
    assert_eq!(names(lab, &["-a"]), ["job"]);
    Footprint::settles_to(lab, &before);
    let attached = lab.verb(&["start", "--attach", "job"]);
    attached.expect_code(3);
    assert_eq!(attached.text(), "begun\n");
    assert_eq!(
        (status(lab, "job").as_str(), done(lab, &["wait", "job"]).text().as_str()),
        ("exited", "3\n")
    );
    // The writable layer is as ephemeral as ever.
    done(lab, &["start", "job"]);
    assert_eq!(done(lab, &["wait", "job"]).text(), "3\n");
    until("the log", || done(lab, &["logs", "job"]).text() == "begun\nbegun\n");
    done(lab, &["prune"]);
    assert!(names(lab, &["-a"]).is_empty());
    Footprint::settles_to(lab, &before);
}

pub fn what_cannot_run_is_said_and_leaves_nothing(lab: &Lab, wall: Wall) {
    let before = begin(lab);
    for (command, code, said) in
        [("/no/such", 127, "no such file"), ("/etc/passwd", 126, "cannot be executed")]
    {
        let run = lab.run(wall, &["-d", "--name", "bad", BUSYBOX, command]);
        run.expect_error(code, said);
        assert!(run.stdout.is_empty());
        assert!(names(lab, &["-a"]).is_empty());
    }
    lab.run(wall, &["-d", "no-such-image"]).expect_error(125, "is not here");
    lab.run(wall, &["--restart", "always", BUSYBOX, "true"]).expect_error(125, "background");
    Footprint::settles_to(lab, &before);
}

pub fn a_run_in_the_foreground_is_listed_and_stopped(lab: &Lab, wall: Wall) {
    let before = begin(lab);
    let script = "trap 'exit 7' TERM; echo up; while true; do sleep 0.1; done";
    let mut command = lab.run_command(wall, &["--name", "front", BUSYBOX, "sh", "-c", script]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("it starts");
    let mut up = [0; 3];
    std::io::Read::read_exact(child.stdout.as_mut().expect("piped"), &mut up)
        .expect("it speaks");
    assert_eq!(names(lab, &[]), ["front"]);
    let front = known(lab, "front");
    assert_eq!(
        (&front["foreground"], &front["state"]["status"]),
        (&true.into(), &"running".into())
    );
    lab.run(wall, &["-d", "--name", "front", BUSYBOX, "true"]).expect_error(125, "taken");
    lab.verb(&["logs", "front"]).expect_error(1, "runs in the foreground");
    done(lab, &["stop", "front"]);
    assert_eq!(child.wait().expect("our own child").code(), Some(7));
    assert!(names(lab, &["-a"]).is_empty());
    Footprint::settles_to(lab, &before);
}

pub fn a_paused_sandbox_stands_still(lab: &Lab, wall: Wall) {
    let before = begin(lab);
    let script = "while true; do echo tick; sleep 0.05; done";
    detached(lab, wall, &["--name", "clock", BUSYBOX, "sh", "-c", script]);
    let ticks = || done(lab, &["logs", "clock"]).text().lines().count();
    until("a tick", || ticks() > 0);
    done(lab, &["pause", "clock"]);
    assert_eq!(status(lab, "clock"), "paused");
    lab.verb(&["pause", "clock"]).expect_error(1, "paused");
    // What was on its way is written by now.
    thread::sleep(Duration::from_millis(300));
    let stood = ticks();
    thread::sleep(Duration::from_millis(500));
    assert_eq!(ticks(), stood);
    done(lab, &["unpause", "clock"]);
    until("another tick", || ticks() > stood);
    lab.verb(&["unpause", "clock"]).expect_error(1, "not paused");
    // One that stands still can be stopped.
    done(lab, &["pause", "clock"]);
    done(lab, &["stop", "-t", "1", "clock"]);
    done(lab, &["rm", "clock"]);
    Footprint::settles_to(lab, &before);
}

pub fn its_processes_are_listed(lab: &Lab, wall: Wall) {
    let before = begin(lab);
    detached(lab, wall, &["--name", "busy", BUSYBOX, "sh", "-c", "sleep 1000 & sleep 1001"]);
    let top = lab.verb(&["top", "busy"]);
    if wall == Wall::Container {
        let text = top.expect_code(0).text();
        assert!(text.contains("sleep 1000") || text.contains("sleep 1001"), "{text}");
    } else {
        top.expect_error(125, "listing the processes inside is not supported by the microvm");
    }
    let stats = done(lab, &["stats", "busy", "--format", "json"]).text();
    assert!(stats.contains("memory_charged_bytes"), "{stats}");
    done(lab, &["rm", "-f", "busy"]);
    Footprint::settles_to(lab, &before);
}
