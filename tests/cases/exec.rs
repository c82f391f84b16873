//! `bulkhead exec`: further processes in a running sandbox.

use crate::images::BUSYBOX;
use crate::lab::{Finished, Footprint, Lab, Wall, finish};
use crate::running::Running;

const NAME: &str = "entered";

fn exec(lab: &Lab, options: &[&str], command: &[&str], input: &[u8]) -> Finished {
    finish(lab.command([&["exec"], options, &[NAME], command].concat()), input)
}

pub fn a_running_sandbox_is_entered(lab: &Lab, wall: Wall) {
    let before = Footprint::now(lab);
    let script = "echo here >/tmp/mark; echo up; cat";
    let running = Running::start(lab, wall, NAME, &["-e", "A=1", BUSYBOX], script);
    let sh = |options: &[&str], script: &str| {
        exec(lab, options, &["sh", "-c", script], b"").expect_code(0).text()
    };

    assert_eq!(sh(&[], "cat /tmp/mark; echo $A"), "here\n1\n");
    assert_eq!(sh(&["-e", "A=2", "-w", "/tmp"], "echo $A; pwd"), "2\n/tmp\n");
    assert_eq!(sh(&["-u", "7:8"], "id -u; id -g"), "7\n8\n");

    exec(lab, &[], &["sh", "-c", "exit 7"], b"").expect_code(7);
    exec(lab, &[], &["sh", "-c", "kill -TERM $$"], b"").expect_code(143);
    exec(lab, &[], &["no-such-command"], b"").expect_error(127, "no such file");
    exec(lab, &[], &["/etc"], b"").expect_error(126, "cannot be executed");

    // Standard input is passed on only where that is asked for.
    assert_eq!(exec(lab, &["-i"], &["cat"], b"carried").expect_code(0).text(), "carried");
    assert_eq!(exec(lab, &[], &["cat"], b"not carried").expect_code(0).text(), "");

    running.end();
    exec(lab, &[], &["true"], b"").expect_error(1, "no sandbox called entered");
    Footprint::settles_to(lab, &before);
}
