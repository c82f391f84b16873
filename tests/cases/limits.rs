//! Limits hold, and what broke them is said.

use crate::images::BUSYBOX;
use crate::lab::{Lab, Wall};

pub fn memory_limit_is_enforced_and_said(lab: &Lab, wall: Wall) {
    // dd's buffer is the memory.
    let script = "dd if=/dev/zero of=/dev/null bs=80M count=1; exit $?";
    let run = lab.run(wall, &["--memory", "40m", BUSYBOX, "sh", "-c", script]);
    assert_ne!(run.code, Some(0), "the limit was not enforced");
    let said = run.stderr.to_lowercase();
    assert!(said.contains("memory"), "no verdict:\n{said}");
}

pub fn pids_limit_is_enforced(lab: &Lab, wall: Wall) {
    let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done; echo started";
    let run = lab.run(wall, &["--pids-limit", "8", BUSYBOX, "sh", "-c", script]);
    assert!(run.stderr.contains("can't fork"), "{}{}", run.text(), run.stderr);
    let run = lab.run(wall, &["--pids-limit", "32", BUSYBOX, "sh", "-c", script]);
    assert_eq!(run.text(), "started\n", "{}", run.stderr);
}
