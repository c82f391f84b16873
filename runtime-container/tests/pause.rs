//! Containers that are held where they are.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use bulkhead_runtime::{Error, Runtime, Signal, Stdio};
use common::{Host, capture};

/// Says a number a hundred times a second.
const COUNT: &str = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done";

/// What has been said by now and was not read.
fn pending(output: &impl std::os::fd::AsRawFd) -> i32 {
    let mut bytes = 0;
    // SAFETY: FIONREAD writes one int.
    unsafe { libc::ioctl(output.as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
    bytes
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn a_paused_container_does_nothing_until_it_goes_on() {
    let host = Host::new();
    let id = "paused".parse().unwrap();
    let (output, stdio) = capture();
    let mut sandbox = host.create_as(&id, &host.script(COUNT), stdio).unwrap();
    sandbox.start(None).unwrap();
    let mut lines = BufReader::new(File::from(output));
    lines.read_line(&mut String::new()).unwrap();

    // Another process's view of it.
    let mut found = host.runtime.load(&id).unwrap();
    assert!(matches!(found.unpause(), Err(Error::NotPaused { .. })));
    found.pause().unwrap();
    assert!(matches!(sandbox.pause(), Err(Error::Paused { .. })));
    let process = host.script("true").spec.process().clone().unwrap();
    let refused = found.exec(&process, Stdio::null().unwrap());
    assert!(matches!(refused.map(drop), Err(Error::Paused { .. })));

    let before = pending(lines.get_ref());
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(pending(lines.get_ref()), before);

    host.runtime.load(&id).unwrap().unpause().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while pending(lines.get_ref()) == before {
        assert!(Instant::now() < deadline, "it does not go on");
        std::thread::sleep(Duration::from_millis(1));
    }
    // Once more, since its cgroup is there now.
    sandbox.pause().unwrap();
    sandbox.unpause().unwrap();
    sandbox.delete().unwrap();
    assert!(matches!(sandbox.pause(), Err(Error::NotRunning { .. })));
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn a_paused_container_can_be_killed_and_removed() {
    let host = Host::new();
    for by_signal in [true, false] {
        let mut sandbox =
            host.create(&host.script("sleep 60 & sleep 60"), Stdio::null().unwrap()).unwrap();
        sandbox.start(None).unwrap();
        sandbox.pause().unwrap();
        if by_signal {
            // Waits until it goes on; then it is too late for it.
            sandbox.signal(Signal::TERM).unwrap();
            assert_eq!(sandbox.wait(Some(Duration::from_millis(50))).unwrap(), None);
            sandbox.signal(Signal::KILL).unwrap();
            assert_eq!(sandbox.wait(None).unwrap().unwrap().code(), 137);
        }
        sandbox.delete().unwrap();
    }
    // What a killed creator leaves behind.
    let id = "paused-and-left".parse().unwrap();
    let mut sandbox =
        host.create_as(&id, &host.script("sleep 60"), Stdio::null().unwrap()).unwrap();
    sandbox.start(None).unwrap();
    sandbox.pause().unwrap();
    host.runtime.purge(&id).unwrap();
    assert!(host.runtime.load(&id).is_err());
    sandbox.delete().unwrap();
}
