//! Nothing is left behind, however a run ends.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::images::BUSYBOX;
use crate::lab::{Footprint, Lab, Wall, wait_until};

/// MicroVM boots take seconds on a host that emulates guest kernel code.
fn repeats(wall: Wall, container: u32, microvm: u32) -> u32 {
    if wall == Wall::Container { container } else { microvm }
}

pub fn quick_runs_leave_nothing(lab: &Lab, wall: Wall) {
    let before = Footprint::now(lab);
    for round in 0..repeats(wall, 200, 5) {
        let code = i32::try_from(round % 3).expect("small");
        let run = lab.run(wall, &[BUSYBOX, "sh", "-c", &format!("echo {round}; exit {code}")]);
        run.expect_code(code);
        assert_eq!(run.text(), format!("{round}\n"));
    }
    Footprint::settles_to(lab, &before);
}

pub fn killed_runs_are_collected(lab: &Lab, wall: Wall) {
    let before = Footprint::now(lab);
    let step = if wall == Wall::Container { 700 } else { 400_000 };
    for round in 0..repeats(wall, 30, 8) {
        let mut command = lab.run_command(wall, &[BUSYBOX, "sleep", "1000"]);
        let mut child = command.stdout(Stdio::null()).spawn().expect("bulkhead starts");
        thread::sleep(Duration::from_micros(u64::from(round) * step));
        child.kill().expect("it runs");
        child.wait().expect("our own child");
    }
    lab.verb(&["gc"]).expect_code(0);
    Footprint::settles_to(lab, &before);
}

pub fn interrupts_leave_nothing(lab: &Lab, wall: Wall) {
    let before = Footprint::now(lab);
    let step = if wall == Wall::Container { 700 } else { 900_000 };
    for round in 0..repeats(wall, 20, 5) {
        let mut command = lab.run_command(wall, &["--init", BUSYBOX, "sleep", "1000"]);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("bulkhead starts");
        watches_for_interrupts(child.id());
        thread::sleep(Duration::from_micros(u64::from(round) * step));
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid"));
        kill(pid, Signal::SIGINT).expect("it runs");
        let status = wait_until(&mut child, Duration::from_secs(60));
        assert!(!status.success(), "an interrupted run succeeded");
        Footprint::settles_to(lab, &before);
    }
}

/// Waits until a process blocks SIGINT to read it from a descriptor. One that
/// comes earlier ends it, or is lost where the caller had it ignored.
fn watches_for_interrupts(pid: u32) {
    const SIGINT_BIT: u64 = 1 << (Signal::SIGINT as u64 - 1);
    let started = Instant::now();
    let blocked = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
        u64::from_str_radix(mask.expect("proc_pid_status(5)").trim(), 16).expect("a mask")
    };
    while blocked() & SIGINT_BIT == 0 {
        assert!(started.elapsed() < Duration::from_secs(30), "it never watches for signals");
        thread::sleep(Duration::from_micros(100));
    }
}
