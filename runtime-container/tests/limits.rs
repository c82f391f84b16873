//! Limits are enforced, counted and reported.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use bulkhead_runtime::{ExitStatus, Signal, Stdio};
use common::Host;
use oci_spec::runtime::{
    LinuxCpuBuilder, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources,
    LinuxResourcesBuilder,
};

fn limited(host: &Host, script: &str, limits: LinuxResources) -> bulkhead_runtime::Bundle {
    let mut bundle = host.script(script);
    let mut linux = bundle.spec.linux().clone().unwrap();
    linux.set_resources(Some(limits));
    bundle.spec.set_linux(Some(linux));
    bundle
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn a_workload_over_its_memory_limit_is_killed_and_the_verdict_says_so() {
    let host = Host::new();
    let memory = LinuxMemoryBuilder::default().limit(16 << 20).swap(16 << 20).build().unwrap();
    let limits = LinuxResourcesBuilder::default().memory(memory).build().unwrap();
    // tail keeps all of an endless line in memory.
    let ran = host.run(&limited(&host, "exec tail -n1 /dev/zero", limits.clone())).unwrap();
    assert_eq!(ran.exit.status, ExitStatus::Signaled(Signal::KILL));
    assert!(ran.exit.oom_killed);
    let ran = host.run(&limited(&host, "exit 3", limits)).unwrap();
    assert_eq!((ran.exit.code(), ran.exit.oom_killed), (3, false));
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn what_is_written_counts_as_memory() {
    let host = Host::new();
    let memory = LinuxMemoryBuilder::default().limit(16 << 20).build().unwrap();
    let limits = LinuxResourcesBuilder::default().memory(memory).build().unwrap();
    let ran =
        host.run(&limited(&host, "head -c 64M /dev/zero >/tmp/big; exit 0", limits)).unwrap();
    assert!(ran.exit.oom_killed, "{:?} {}", ran.exit, ran.text);
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn a_workload_cannot_have_more_processes_than_allowed() {
    let host = Host::new();
    let pids = LinuxPidsBuilder::default().limit(5).build().unwrap();
    let limits = LinuxResourcesBuilder::default().pids(pids).build().unwrap();
    let script = "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait";
    let ran = host.run(&limited(&host, script, limits)).unwrap();
    assert!(ran.text.contains("Cannot fork"), "{}", ran.text);
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn use_is_accounted_for() {
    let host = Host::new();
    let cpu = LinuxCpuBuilder::default().quota(50_000).period(100_000_u64).build().unwrap();
    let limits = LinuxResourcesBuilder::default().cpu(cpu).build().unwrap();
    let bundle = limited(&host, "head -c 8M /dev/zero >/tmp/x; sleep 60 & sleep 60", limits);
    let mut sandbox = host.create(&bundle, Stdio::null().unwrap()).unwrap();
    sandbox.start(None).unwrap();
    let settled = |sandbox: &dyn bulkhead_runtime::Sandbox| {
        let usage = sandbox.usage().unwrap();
        usage.pids == Some(3) && usage.memory_bytes.unwrap() > 8 << 20
    };
    while !settled(&*sandbox) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let usage = sandbox.usage().unwrap();
    assert!(usage.memory_peak_bytes >= usage.memory_bytes);
    assert!(usage.cpu_ns.unwrap() > 0);
    assert_eq!(sandbox.processes().unwrap().len(), 3);
    sandbox.delete().unwrap();
}
