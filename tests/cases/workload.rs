//! A workload behaves the same behind both walls.

use std::process::Stdio;
use std::time::{Duration, Instant};
use std::{io::BufRead, io::BufReader};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::images::{BUSYBOX, DEBIAN};
use crate::lab::{Lab, Wall, wait_until};

pub fn output_and_exit_code(lab: &Lab, wall: Wall) {
    let script = "echo out; echo err >&2; exit 7";
    let run = lab.run(wall, &[BUSYBOX, "sh", "-c", script]);
    run.expect_code(7);
    assert_eq!((run.text().as_str(), run.stderr.as_str()), ("out\n", "err\n"));
    lab.run(wall, &[BUSYBOX, "true"]).expect_code(0);
}

pub fn commands_that_cannot_run(lab: &Lab, wall: Wall) {
    lab.run(wall, &[BUSYBOX, "no-such-command"]).expect_error(127, "no-such-command");
    lab.run(wall, &[BUSYBOX, "/bin/not-executable"]).expect_error(126, "not-executable");
    lab.run(wall, &["no-such-image", "true"]).expect_error(125, "no-such-image");
}

pub fn a_signal_gives_128_plus_n(lab: &Lab, wall: Wall) {
    // PID 1 is immune to its own signals, its children are not.
    let script = "sh -c 'kill -9 $$'; echo $?";
    let run = lab.run(wall, &[BUSYBOX, "sh", "-c", script]);
    run.expect_code(0);
    assert!(run.text().ends_with("137\n"), "{}", run.text());
    // Under an init the workload is no PID 1.
    lab.run(wall, &["--init", BUSYBOX, "sh", "-c", "kill -9 $$"]).expect_code(137);
}

pub fn process_settings_reach_the_workload(lab: &Lab, wall: Wall) {
    let options =
        ["-e", "COLOUR=red", "-w", "/new/dir", "-u", "1234:4321", "--hostname", "bulk"];
    let script = "echo $COLOUR; pwd; id -u; id -g; hostname; echo $$; echo $PATH";
    let run = lab.run(wall, &[&options[..], &[BUSYBOX, "sh", "-c", script]].concat());
    run.expect_code(0);
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(run.text(), format!("red\n/new/dir\n1234\n4321\nbulk\n1\n{path}\n"));
}

pub fn users_are_resolved_by_name(lab: &Lab, wall: Wall) {
    let run = lab.run(wall, &["-u", "user", BUSYBOX, "sh", "-c", "id; echo $HOME"]);
    run.expect_code(0);
    let said = run.text();
    assert!(said.starts_with("uid=1000(user) gid=1000(user) groups="), "{said}");
    assert!(said.contains("2000(extra)") && said.ends_with("/home/user\n"), "{said}");
    lab.run(wall, &["-u", "nobody-here", BUSYBOX, "id"]).expect_error(125, "nobody-here");
}

pub fn stdin_is_carried_through(lab: &Lab, wall: Wall) {
    let run = lab.run_with_input(wall, &[BUSYBOX, "sh", "-c", "cat; echo end"], b"piped\n");
    run.expect_code(0);
    assert_eq!(run.text(), "piped\nend\n");
}

pub fn a_mebibyte_comes_back_intact(lab: &Lab, wall: Wall) {
    let sent: Vec<u8> =
        (0..1_u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let run = lab.run_with_input(wall, &[BUSYBOX, "cat"], &sent);
    run.expect_code(0);
    assert!(run.stdout == sent, "{} bytes came back of {}", run.stdout.len(), sent.len());
}

pub fn init_reaps_orphans(lab: &Lab, wall: Wall) {
    // The inner shell exits first, so the sleep becomes an orphan of PID 1.
    let script = "sh -c 'sleep 0.1 & :'; sleep 1; grep -c '^State:.Z' /proc/[0-9]*/status | grep -c ':1$'; \
                  readlink /proc/1/exe | grep -c sh";
    let run = lab.run(wall, &["--init", BUSYBOX, "sh", "-c", script]);
    assert!(run.text().starts_with("0\n"), "zombies:\n{}{}", run.text(), run.stderr);
}

pub fn forwarded_signals_reach_the_workload(lab: &Lab, wall: Wall) {
    let script = "trap 'echo got it; exit 9' TERM; echo ready; while :; do sleep 0.2; done";
    let mut command = lab.run_command(wall, &[BUSYBOX, "sh", "-c", script]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("bulkhead starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "ready");
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
    kill(pid, Signal::SIGTERM).expect("it runs");
    assert_eq!(lines.next().expect("a line").expect("text"), "got it");
    assert_eq!(wait_until(&mut child, Duration::from_secs(60)).code(), Some(9));
}

pub fn timeout_kills(lab: &Lab, wall: Wall) {
    let started = Instant::now();
    let run = lab.run(wall, &["--timeout", "500ms", BUSYBOX, "sleep", "1000"]);
    run.expect_error(124, "500ms");
    assert!(started.elapsed() < Duration::from_secs(200));
}

pub fn debian_runs(lab: &Lab, wall: Wall) {
    let script = "set -e; . /etc/os-release; echo $ID; ls -l /usr/bin/perl >/dev/null; perl -e 'print 6*7'";
    let run = lab.run(wall, &["--memory", "192m", DEBIAN, "bash", "-c", script]);
    run.expect_code(0);
    assert_eq!(run.text(), "debian\n42");
}
