//! A container's life: start, streams, signals, end.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::time::Duration;

use bulkhead_runtime::{
    Clock, Create, Error, ExitStatus, Lifetime, Runtime, SandboxId, Signal, Stdio,
};
use common::{Host, capture, read};

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn a_workload_runs_and_its_output_and_exit_code_arrive() {
    let host = Host::new();
    assert_eq!(host.says("echo $GREETING; cat /etc/marker"), "hello\nfrom the layer\n");
    for code in [0, 7, 255] {
        let ran = host.run(&host.script(&format!("exit {code}"))).unwrap();
        assert_eq!(ran.exit.code(), code);
    }
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn input_is_piped_through_and_a_mebibyte_of_output_is_whole() {
    let host = Host::new();
    let (input, feed) = std::io::pipe().unwrap();
    let (output, mut stdio) = capture();
    stdio.stdin = input.into();
    let mut sandbox = host.create(&host.script("cat; sleep 0"), stdio).unwrap();
    sandbox.start(None).unwrap();
    let sent: Vec<u8> =
        (0..1_u32 << 20).map(|i| b'a' + u8::try_from(i % 23).unwrap()).collect();
    let expected = sent.clone();
    let writer = std::thread::spawn(move || {
        let mut feed = File::from(OwnedFd::from(feed));
        feed.write_all(&sent).unwrap();
    });
    let text = read(output);
    writer.join().unwrap();
    assert_eq!(sandbox.wait(None).unwrap().unwrap().code(), 0);
    assert_eq!(text.as_bytes(), expected);
    sandbox.delete().unwrap();
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn a_missing_command_and_one_that_cannot_run_are_told_apart() {
    let host = Host::new();
    for args in [&["no-such-command"][..], &["/no/such/file"], &["/etc/marker/x"]] {
        let refused = host.run(&host.bundle(args));
        assert!(matches!(refused, Err(Error::WorkloadNotFound { .. })), "{args:?}");
    }
    for args in [&["/etc/marker"][..], &["/etc"]] {
        let refused = host.run(&host.bundle(args));
        assert!(matches!(refused, Err(Error::WorkloadNotExecutable { .. })), "{args:?}");
    }
    assert!(host.state().read_dir().unwrap().next().is_none(), "state was left behind");
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn signals_reach_the_workload() {
    let host = Host::new();
    let script = "trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 0.01; done";
    let (output, stdio) = capture();
    let mut sandbox = host.create(&host.script(script), stdio).unwrap();
    sandbox.start(None).unwrap();
    // The trap is set once the first line is there.
    let mut text = String::new();
    let mut output = std::io::BufReader::new(File::from(output));
    std::io::BufRead::read_line(&mut output, &mut text).unwrap();
    assert_eq!(sandbox.wait(Some(Duration::ZERO)).unwrap(), None);
    sandbox.signal(Signal::TERM).unwrap();
    assert_eq!(sandbox.wait(None).unwrap().unwrap().code(), 3);
    assert!(matches!(sandbox.signal(Signal::TERM), Err(Error::NotRunning { .. })));
    sandbox.delete().unwrap();
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn a_killed_workload_is_reported_as_killed() {
    let host = Host::new();
    let mut sandbox = host.create(&host.script("sleep 60"), Stdio::null().unwrap()).unwrap();
    sandbox.start(None).unwrap();
    sandbox.signal(Signal::KILL).unwrap();
    let exit = sandbox.wait(None).unwrap().unwrap();
    assert_eq!(exit.status, ExitStatus::Signaled(Signal::KILL));
    assert_eq!((exit.code(), exit.oom_killed), (137, false));
    sandbox.delete().unwrap();
    sandbox.delete().unwrap();
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn ignored_signals_of_the_creator_do_not_reach_the_workload() {
    // Rust's runtime ignores SIGPIPE in this very process.
    let host = Host::new();
    let text = host.says("grep -E '^Sig(Blk|Ign):' /proc/self/status");
    for line in text.lines() {
        assert!(line.ends_with("0000000000000000"), "{text}");
    }
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn what_is_created_waits_for_the_start() {
    let host = Host::new();
    let (output, stdio) = capture();
    let mut sandbox = host.create(&host.script("echo started"), stdio).unwrap();
    assert_eq!(sandbox.wait(Some(Duration::from_millis(50))).unwrap(), None);
    assert_eq!(sandbox.timeline().get(Clock::WorkloadExec), None);
    sandbox.start(None).unwrap();
    assert_eq!(read(output), "started\n");
    sandbox.wait(None).unwrap();
    sandbox.delete().unwrap();
    let seen: Vec<Clock> = sandbox.timeline().iter().map(|(clock, _)| clock).collect();
    assert_eq!(
        seen,
        [
            Clock::Request,
            Clock::RootfsReady,
            Clock::SandboxCreated,
            Clock::WorkloadExec,
            Clock::ExitObserved,
            Clock::Released
        ]
    );
    let instants: Vec<_> = sandbox.timeline().iter().map(|(_, instant)| instant).collect();
    assert!(instants.is_sorted(), "{instants:?}");
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn an_init_reaps_orphans_and_forwards_signals() {
    let host = Host::new();
    let (output, stdio) = capture();
    let bundle = host.script(
        "trap 'echo caught; exit 5' USR1
         (sh -c 'sleep 0.05; echo orphan $$ >/dev/null' &)
         sleep 0.3
         echo pid $$ zombies $(grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l)
         while :; do sleep 0.01; done",
    );
    let id = SandboxId::random().unwrap();
    let request = Create { init: true, ..Create::attached(&id, &bundle, stdio) };
    let mut sandbox = host.runtime.create(request).unwrap();
    sandbox.start(None).unwrap();
    let mut text = String::new();
    let mut output = std::io::BufReader::new(File::from(output));
    std::io::BufRead::read_line(&mut output, &mut text).unwrap();
    assert_eq!(text, "pid 2 zombies 0\n");
    sandbox.signal(Signal::new(libc::SIGUSR1).unwrap()).unwrap();
    assert_eq!(sandbox.wait(None).unwrap().unwrap().code(), 5);
    sandbox.delete().unwrap();
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn a_detached_container_is_found_by_its_name() {
    let host = Host::new();
    let id = "found-again".parse().unwrap();
    let bundle = host.script("exec sleep 60");
    let request = Create {
        lifetime: Lifetime::Detached,
        ..Create::attached(&id, &bundle, Stdio::null().unwrap())
    };
    let mut first = host.runtime.create(request).unwrap();
    first.start(None).unwrap();
    let processes = first.processes().unwrap();
    drop(first);

    let mut again = host.runtime.load(&id).unwrap();
    assert_eq!(again.processes().unwrap(), processes);
    assert_eq!(again.wait(Some(Duration::ZERO)).unwrap(), None);
    assert!(again.usage().unwrap().memory_bytes.is_some_and(|bytes| bytes > 0));
    again.signal(Signal::KILL).unwrap();
    assert_eq!(again.wait(None).unwrap().unwrap().code(), 137);
    again.delete().unwrap();
    assert!(host.runtime.load(&id).is_err());
}
