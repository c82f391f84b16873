//! Memory that a microVM does not need is the host's.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::images::BUSYBOX;
use crate::lab::{Lab, Wall, monitors_below, wait_until};

/// What the workload touches and frees, MiB, and how much of it must come back:
/// the guest reports free memory in runs of 128 KiB, two seconds later.
const TOUCHED_MIB: u64 = 4;
const RECLAIMED_KIB: u64 = 3 << 10;

pub fn freed_memory_is_given_back(lab: &Lab, wall: Wall) {
    let script = format!(
        "dd if=/dev/zero of=/dev/null bs={TOUCHED_MIB}M count=1 2>/dev/null; echo freed; cat"
    );
    let mut command = lab.run_command(wall, &["--memory", "64m", BUSYBOX, "sh", "-c", &script]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("bulkhead starts");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("output");
    assert_eq!(line, "freed\n");

    let monitors = monitors_below(&lab.root);
    let [monitor] = &monitors[..] else { panic!("not one monitor: {monitors:?}") };
    let given_back = || {
        let status = fs::read_to_string(format!("/proc/{monitor}/status")).expect("it runs");
        let kib = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
            value.trim().trim_end_matches(" kB").parse::<u64>().expect("proc_pid_status(5)")
        };
        kib("VmHWM:") - kib("VmRSS:")
    };
    let started = Instant::now();
    while given_back() < RECLAIMED_KIB && started.elapsed() < Duration::from_secs(30) {
        thread::sleep(Duration::from_millis(100));
    }
    let reclaimed = given_back();
    // The end of its input ends the workload.
    drop(child.stdin.take());
    assert!(wait_until(&mut child, Duration::from_secs(60)).success());
    assert!(reclaimed >= RECLAIMED_KIB, "{reclaimed} KiB of {TOUCHED_MIB} MiB came back");
}

pub fn a_mapped_root_takes_no_guest_memory(lab: &Lab, wall: Wall) {
    // Reads a file of two megabytes, and says how much of the guest's memory caches
    // files then.
    let script = "cat /bin/busybox >/dev/null; grep ^Cached: /proc/meminfo; exit 7";
    let cached_kib = |disk: &str| -> u64 {
        let run = lab.run(wall, &["--root-disk", disk, BUSYBOX, "sh", "-c", script]);
        run.expect_code(7);
        let text = run.text();
        text.split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse().ok())
            .expect("proc_meminfo(5)")
    };
    let (read, mapped) = (cached_kib("blk"), cached_kib("pmem"));
    assert!(mapped + 1024 < read, "{mapped} KiB cached of a mapped disk, {read} of a read one");
}
