//! What goes in and comes out of sandboxes in the background.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use super::{begin, detached, done, known, until};
use crate::images::BUSYBOX;
use crate::lab::{Footprint, Lab, Wall, finish};

pub fn logs_are_kept_bounded_and_followed(lab: &Lab, wall: Wall) {
    let before = begin(lab);
    let script = "i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); done; \
                  echo oops >&2; printf end";
    let options = ["--name", "talk", "--log-size", "4k", "--log-files", "2"];
    detached(lab, wall, &[&options, &[BUSYBOX, "sh", "-c", script][..]].concat());
    assert_eq!(done(lab, &["wait", "talk"]).text(), "0\n");
    let all = done(lab, &["logs", "talk"]);
    let text = all.text();
    assert!(text.ends_with("line 399\nend"), "{text}");
    assert_eq!(all.stderr, "oops\n");
    let first: usize =
        text.lines().next().and_then(|line| line[5..].parse().ok()).expect("a line");
    assert!(first > 100, "it is bounded: {first}");
    assert_eq!(text.lines().count(), 400 - first + 1, "without a gap");
    let dir = known(lab, "talk")["log"]["directory"].as_str().expect("a path").to_owned();
    let sizes: Vec<u64> = fs::read_dir(dir)
        .expect("a directory")
        .map(|file| file.expect("a file").metadata().expect("a file").len())
        .collect();
    assert!(sizes.len() == 2 && sizes.iter().all(|&size| size <= 4096), "{sizes:?}");
    let last = done(lab, &["logs", "-n", "3", "talk"]);
    assert!(last.text().ends_with("line 399\nend") && last.text().lines().count() <= 3);
    let timed = done(lab, &["logs", "-t", "-n", "1", "talk"]).text();
    assert!(timed.ends_with("Z end"), "{timed}");
    assert_eq!(done(lab, &["logs", "--since", "1h", "talk"]).text(), text);
    assert_eq!(done(lab, &["logs", "--until", "1h", "talk"]).text(), "");
    done(lab, &["rm", "talk"]);

    // What is written while somebody follows is printed as it comes, to the end.
    let script = "echo one; until [ -e /tmp/go ]; do sleep 0.05; done; echo two";
    detached(lab, wall, &["--name", "slow", BUSYBOX, "sh", "-c", script]);
    let mut follow = lab.command(["logs", "-f", "slow"]);
    let mut follow = follow.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(follow.stdout.take().expect("piped")).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "one");
    done(lab, &["exec", "slow", "touch", "/tmp/go"]);
    assert_eq!(lines.next().expect("a line").expect("text"), "two");
    assert!(lines.next().is_none());
    assert!(follow.wait().expect("our own child").success());
    done(lab, &["rm", "slow"]);
    Footprint::settles_to(lab, &before);
}

pub fn attached_streams_are_carried(lab: &Lab, wall: Wall) {
    let before = begin(lab);
    // Who starts a sandbox attached gets the first byte and the exit code.
    let script = "echo out; echo err >&2; exit 4";
    let create =
        ["create", "--isolation", wall.name(), "--name", "once", BUSYBOX, "sh", "-c", script];
    done(lab, &create);
    let run = lab.verb(&["start", "-a", "once"]);
    run.expect_code(4);
    assert_eq!((run.text().as_str(), run.stderr.as_str()), ("out\n", "err\n"));
    done(lab, &["rm", "once"]);

    // Signals go to the command.
    let script = "trap 'echo caught; exit 9' TERM; echo ready; while true; do sleep 0.05; done";
    detached(lab, wall, &["--name", "trap", BUSYBOX, "sh", "-c", script]);
    until("the trap", || done(lab, &["logs", "trap"]).text() == "ready\n");
    let attach = lab.command(["attach", "trap"]);
    let mut command = attach;
    let child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    until("the attachment", || {
        let events = done(
            lab,
            &["events", "--since", "1m", "--until", "0s", "--filter", "event=attach"],
        );
        events.text().contains("name=trap")
    });
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("it runs");
    let output = child.wait_with_output().expect("our own child");
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(9), &b"caught\n"[..]));
    done(lab, &["rm", "trap"]);
    // What does not run cannot be attached to.
    finish(lab.command(["attach", "trap"]), b"").expect_error(1, "no sandbox called trap");
    Footprint::settles_to(lab, &before);
}

pub fn input_is_carried_to_its_end(lab: &Lab, wall: Wall) {
    let before = begin(lab);
    let create = [
        "create",
        "--isolation",
        wall.name(),
        "--interactive",
        "--name",
        "copy",
        BUSYBOX,
        "cat",
    ];
    done(lab, &create);
    let text: String = (0..20_000).map(|line| format!("{line}\n")).collect();
    let copied = finish(lab.command(["start", "-a", "-i", "copy"]), text.as_bytes());
    copied.expect_code(0);
    assert!(copied.text() == text, "{} of {} bytes", copied.stdout.len(), text.len());
    done(lab, &["rm", "copy"]);

    // In the background it stays open for the next who attaches.
    detached(lab, wall, &["--interactive", "--name", "ear", BUSYBOX, "cat"]);
    for word in ["one\n", "one\ntwo\n"] {
        let said = word.lines().last().expect("a line");
        let mut command = lab.command(["attach", "ear"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut stdin = child.stdin.take().expect("piped");
        writeln!(stdin, "{said}").expect("it reads");
        drop(stdin);
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        output.read_line(&mut line).expect("it answers");
        assert_eq!(line, format!("{said}\n"));
        child.kill().expect("it runs");
        child.wait().expect("our own child");
        until("the log", || done(lab, &["logs", "ear"]).text() == word);
    }
    done(lab, &["rm", "-f", "ear"]);
    Footprint::settles_to(lab, &before);
}

pub fn a_terminal_in_the_background_is_one(lab: &Lab, wall: Wall) {
    let before = begin(lab);
    let script = "test -t 0 && test -t 1 && echo terminal";
    detached(lab, wall, &["--tty", "--name", "screen", BUSYBOX, "sh", "-c", script]);
    assert_eq!(done(lab, &["wait", "screen"]).text(), "0\n");
    assert_eq!(done(lab, &["logs", "screen"]).text(), "terminal\r\n");
    done(lab, &["rm", "screen"]);
    Footprint::settles_to(lab, &before);
}
