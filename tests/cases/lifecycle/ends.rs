//! How sandboxes in the background end, and what is left of them.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{begin, detached, done, known, names, status, until};
use crate::images::BUSYBOX;
use crate::lab::{Footprint, Lab, Wall};

/// Says what it is told, and ends when it is asked to by the right signal.
const POLITE: &str =
    "trap 'echo asked; exit 5' USR1; echo ready; while true; do sleep 0.05; done";
/// Does not end when it is asked to.
const RUDE: &str = "trap '' TERM; echo ready; while true; do sleep 0.05; done";

/// Waits until the command has set its trap.
fn is_ready(lab: &Lab, name: &str) {
    until("the trap", || done(lab, &["logs", name]).text() == "ready\n");
}

pub fn stops_and_kills(lab: &Lab, wall: Wall) {
    let before = begin(lab);
    let options = ["--name", "a", "--stop-signal", "USR1", BUSYBOX, "sh", "-c", POLITE];
    detached(lab, wall, &options);
    is_ready(lab, "a");
    let since = Instant::now();
    done(lab, &["stop", "a"]);
    assert!(since.elapsed() < Duration::from_secs(9), "it was asked, not killed");
    assert_eq!(done(lab, &["wait", "a"]).text(), "5\n");
    assert_eq!(done(lab, &["logs", "a"]).text(), "ready\nasked\n");
    assert_eq!(known(lab, "a")["state"]["stopped_on_request"], true);
    // Nothing is left to do, and that is no failure.
    done(lab, &["stop", "a"]);
    lab.verb(&["kill", "a"]).expect_error(1, "not running");
    done(lab, &["rm", "a"]);

    detached(lab, wall, &["--rm", "--name", "b", BUSYBOX, "sh", "-c", RUDE]);
    is_ready(lab, "b");
    // Whoever waits is told.
    let waits = lab.command(["wait", "b"]).stdout(Stdio::piped()).spawn().expect("it starts");
    thread::sleep(Duration::from_millis(200));
    let since = Instant::now();
    done(lab, &["stop", "-t", "1", "b"]);
    assert!(since.elapsed() >= Duration::from_millis(900), "it had a second");
    let told = waits.wait_with_output().expect("our own child");
    assert_eq!(String::from_utf8_lossy(&told.stdout), "137\n");
    assert!(names(lab, &["-a"]).is_empty(), "it was to be removed");

    detached(lab, wall, &["--name", "c", BUSYBOX, "sh", "-c", POLITE]);
    is_ready(lab, "c");
    done(lab, &["kill", "-s", "USR1", "c"]);
    assert_eq!(done(lab, &["wait", "c"]).text(), "5\n");
    done(lab, &["restart", "c"]);
    assert_eq!(status(lab, "c"), "running");
    done(lab, &["kill", "c"]);
    assert_eq!(known(lab, "c")["state"]["exit_code"], 137);
    done(lab, &["rm", "c"]);

    // A time to run that runs out is as in the foreground.
    detached(lab, wall, &["--name", "d", "--timeout", "500ms", BUSYBOX, "sleep", "1000"]);
    assert_eq!(done(lab, &["wait", "d"]).text(), "124\n");
    done(lab, &["rm", "d"]);
    Footprint::settles_to(lab, &before);
}

/// The supervisor of the sandbox `name`, once there is one.
fn supervisors(lab: &Lab) -> Vec<Pid> {
    let store = lab.store.to_str().expect("utf-8");
    let entries = fs::read_dir("/proc").expect("procfs").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains("instance-supervisor") && line.contains(store)
    })
    .map(Pid::from_raw)
    .collect()
}

pub fn a_killed_supervisor_leaves_nothing_that_gc_does_not_remove(lab: &Lab, wall: Wall) {
    let before = begin(lab);
    let (rounds, step) = if wall == Wall::Container { (25, 1) } else { (4, 900) };
    for round in 0..rounds {
        let name = format!("k{round}");
        let brief = round % 2 == 0;
        let mut options = vec!["-d", "--name", &name];
        options.extend(brief.then_some("--rm"));
        options.extend([BUSYBOX, "sleep", "1000"]);
        let mut command = lab.run_command(wall, &options);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("bulkhead starts");
        thread::sleep(Duration::from_millis(round * step));
        for supervisor in supervisors(lab) {
            // It may have ended by itself.
            let _ = kill(supervisor, Signal::SIGKILL);
        }
        // Whoever waited for the start is told, or has its id already.
        child.wait().expect("our own child");
        for supervisor in supervisors(lab) {
            let _ = kill(supervisor, Signal::SIGKILL);
        }
        until("the death of the supervisors", || supervisors(lab).is_empty());
        // What the supervisor had begun ends with it, a moment later.
        until("the end of what ran", || names(lab, &[]).is_empty());
        lab.verb(&["gc"]).expect_code(0);
        // What was to stay can be started again, what was not is gone.
        match names(lab, &["-a"]).as_slice() {
            [] => {}
            [kept] => {
                assert!(*kept == name && !brief, "{kept}");
                if wall == Wall::Container || round == rounds - 1 {
                    done(lab, &["start", kept]);
                    assert_eq!(status(lab, kept), "running");
                    done(lab, &["kill", kept]);
                }
                done(lab, &["rm", kept]);
            }
            more => panic!("{more:?}"),
        }
    }
    Footprint::settles_to(lab, &before);
    // The same for the one that had it started.
    for round in 0..rounds {
        let mut command = lab.run_command(wall, &["-d", "--rm", BUSYBOX, "sleep", "1000"]);
        let mut child = command.stdout(Stdio::null()).spawn().expect("bulkhead starts");
        thread::sleep(Duration::from_millis(round * step / 2));
        let _ = child.kill();
        child.wait().expect("our own child");
        lab.verb(&["gc"]).expect_code(0);
        for running in names(lab, &["-a"]) {
            done(lab, &["rm", "-f", &running]);
        }
    }
    lab.verb(&["gc"]).expect_code(0);
    assert!(names(lab, &["-a"]).is_empty());
    Footprint::settles_to(lab, &before);
}
