//! Peers that are installed here.

use std::fs;
use std::time::Duration;

use bulkhead_runtime::{
    Availability, Clock, ExitStatus, Role, Runtime, Sandbox, Signal, Stdio,
};

use crate::lab::{Lab, MEMORY_BYTES, PIDS, chain, output};

type Body = fn(&'static str);

/// Name and body of each case; the body is given the peer's name.
pub const CASES: &[(&str, Body)] = &[
    ("runs_a_workload_to_its_end", runs_a_workload_to_its_end),
    ("limits_what_the_bundle_limits", limits_what_the_bundle_limits),
    ("signals_reach_the_workload", signals_reach_the_workload),
    ("starts_a_further_process", starts_a_further_process),
    ("says_why_a_command_does_not_run", says_why_a_command_does_not_run),
    ("dropping_it_leaves_nothing", dropping_it_leaves_nothing),
];

/// A sandbox whose workload sits idle.
fn idle(lab: &Lab, peer: &str) -> Box<dyn Sandbox> {
    let runtime = lab.peer(peer);
    let bundle = lab.bundle(&["/probe", "idle"]);
    let mut sandbox = lab.create(&runtime, &bundle, Stdio::null().unwrap()).unwrap();
    sandbox.start(None).unwrap();
    sandbox
}

fn runs_a_workload_to_its_end(peer: &'static str) {
    let lab = Lab::new();
    let runtime = lab.peer(peer);
    assert_eq!(runtime.availability(), Availability::Ready);
    assert!(runtime.version().contains("version"), "{}", runtime.version());
    let (read, stdio) = output();
    let mut sandbox = lab.create(&runtime, &lab.bundle(&["/probe", "hello"]), stdio).unwrap();
    sandbox.start(None).unwrap();
    let exit = sandbox.wait(None).unwrap().unwrap();
    assert_eq!((exit.status, exit.oom_killed), (ExitStatus::Exited(0), false));
    sandbox.delete().unwrap();
    assert_eq!(read(), "hello\n");
    let timeline = sandbox.timeline();
    let order = [
        Clock::Request,
        Clock::RootfsReady,
        Clock::SandboxCreated,
        Clock::WorkloadExec,
        Clock::ExitObserved,
        Clock::Released,
    ];
    let times: Vec<_> = order.iter().map(|&clock| timeline.get(clock).unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    lab.assert_nothing_left();
}

fn limits_what_the_bundle_limits(peer: &'static str) {
    let lab = Lab::new();
    let mut sandbox = idle(&lab, peer);
    let dirs = lab.cgroups();
    let read = |files: [&str; 2]| {
        let found = dirs.iter().flat_map(|dir| files.map(|file| dir.join(file)));
        let text = found.filter_map(|file| fs::read_to_string(file).ok()).next().unwrap();
        text.trim().parse::<i64>().unwrap()
    };
    assert_eq!(read(["memory.limit_in_bytes", "memory.max"]), MEMORY_BYTES);
    assert_eq!(read(["pids.max", "pids.max"]), PIDS);
    let usage = sandbox.usage().unwrap();
    assert!(usage.memory_bytes.unwrap() > 0 && usage.pids == Some(1), "{usage:?}");
    let processes = sandbox.processes().unwrap();
    assert_eq!(processes.len(), 1, "{processes:?}");
    assert_eq!(processes[0].role, Role::Workload);
    assert!(fs::metadata(format!("/proc/{}/smaps_rollup", processes[0].pid)).is_ok());
    sandbox.delete().unwrap();
    lab.assert_nothing_left();
}

fn signals_reach_the_workload(peer: &'static str) {
    let lab = Lab::new();
    let mut sandbox = idle(&lab, peer);
    assert_eq!(sandbox.wait(Some(Duration::ZERO)).unwrap(), None);
    sandbox.signal(Signal::KILL).unwrap();
    let exit = sandbox.wait(None).unwrap().unwrap();
    assert_eq!(exit.status, ExitStatus::Signaled(Signal::KILL));
    assert!(!exit.oom_killed);
    assert!(sandbox.signal(Signal::KILL).is_err());
    sandbox.delete().unwrap();
    sandbox.delete().unwrap();
    lab.assert_nothing_left();
}

fn starts_a_further_process(peer: &'static str) {
    let lab = Lab::new();
    let mut sandbox = idle(&lab, peer);
    let process = lab.bundle(&["/probe", "hello"]).spec.process().clone().unwrap();
    let (read, stdio) = output();
    let mut exec = sandbox.exec(&process, stdio).unwrap();
    exec.start(None).unwrap();
    assert_eq!(exec.wait(None).unwrap().unwrap().status, ExitStatus::Exited(0));
    assert_eq!(read(), "hello\n");
    exec.delete().unwrap();
    sandbox.delete().unwrap();
    lab.assert_nothing_left();
}

fn says_why_a_command_does_not_run(peer: &'static str) {
    let lab = Lab::new();
    let runtime = lab.peer(peer);
    let bundle = lab.bundle(&["/no-such-command"]);
    let made = lab.create(&runtime, &bundle, Stdio::null().unwrap());
    // crun notices at create, runc at start.
    let error = match made {
        Err(error) => error,
        Ok(mut sandbox) => sandbox.start(None).unwrap_err(),
    };
    assert!(chain(&error).contains("/no-such-command"), "{}", chain(&error));
    lab.assert_nothing_left();
}

fn dropping_it_leaves_nothing(peer: &'static str) {
    let lab = Lab::new();
    let sandbox = idle(&lab, peer);
    let pid = sandbox.processes().unwrap()[0].pid;
    drop(sandbox);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    lab.assert_nothing_left();
}
