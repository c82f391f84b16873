//! Further processes in a running container.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use bulkhead_runtime::{Error, Runtime, Sandbox, SandboxId, Signal, Stdio};
use common::{Host, capture, read};
use oci_spec::runtime::Process;

fn process(host: &Host, script: &str) -> Process {
    host.script(script).spec.process().clone().unwrap()
}

fn running(host: &Host, id: &SandboxId) -> Box<dyn Sandbox> {
    let bundle = host.script("echo here >/tmp/mark; exec sleep 60");
    let mut sandbox = host.create_as(id, &bundle, Stdio::null().unwrap()).unwrap();
    sandbox.start(None).unwrap();
    sandbox
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn a_process_joins_everything_the_workload_is_in() {
    let host = Host::new();
    let id = "exec-joins".parse().unwrap();
    let mut sandbox = running(&host, &id);
    // From another process's point of view: by name.
    let mut found = host.runtime.load(&id).unwrap();
    let (output, stdio) = capture();
    let script = "while ! [ -s /tmp/mark ]; do sleep 0.01; done; cat /tmp/mark
        for n in mnt pid net ipc uts cgroup; do
            [ $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) ] || echo other $n; done
        hostname; grep -E '^(Seccomp|NoNewPrivs|CapEff):' /proc/self/status | tr '\\n' ' '; exit 6";
    let mut exec = found.exec(&process(&host, script), stdio).unwrap();
    assert_eq!(exec.wait(None).unwrap().unwrap().code(), 6);
    assert_eq!(
        read(output),
        "here\ninside\nCapEff:\t00000000a80425fb NoNewPrivs:\t1 Seccomp:\t2 "
    );
    drop(found);
    sandbox.delete().unwrap();
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn its_end_is_not_the_workloads_and_the_other_way_round() {
    let host = Host::new();
    let id = SandboxId::random().unwrap();
    let mut sandbox = running(&host, &id);
    let mut exec = sandbox.exec(&process(&host, "sleep 60"), Stdio::null().unwrap()).unwrap();
    exec.signal(Signal::KILL).unwrap();
    assert_eq!(exec.wait(None).unwrap().unwrap().code(), 137);
    assert_eq!(sandbox.wait(Some(std::time::Duration::ZERO)).unwrap(), None);
    let mut exec = sandbox.exec(&process(&host, "sleep 60"), Stdio::null().unwrap()).unwrap();
    sandbox.signal(Signal::KILL).unwrap();
    assert_eq!(exec.wait(None).unwrap().unwrap().code(), 137);
    sandbox.wait(None).unwrap();
    let refused = sandbox.exec(&process(&host, "true"), Stdio::null().unwrap());
    assert!(matches!(refused.map(drop), Err(Error::NotRunning { .. })));
    sandbox.delete().unwrap();
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn a_command_that_is_not_there_leaves_nothing() {
    let host = Host::new();
    let mut sandbox = running(&host, &SandboxId::random().unwrap());
    let missing = host.bundle(&["no-such-command"]).spec.process().clone().unwrap();
    let refused = sandbox.exec(&missing, Stdio::null().unwrap());
    assert!(matches!(refused.map(drop), Err(Error::WorkloadNotFound { .. })));
    assert_eq!(sandbox.processes().unwrap().len(), 1);
    // This thread makes its children in its own pid namespace again.
    let shell =
        std::process::Command::new("readlink").arg("/proc/self/ns/pid").output().unwrap();
    let own = std::fs::read_link("/proc/self/ns/pid").unwrap();
    assert_eq!(String::from_utf8_lossy(&shell.stdout).trim(), own.to_str().unwrap());
    sandbox.delete().unwrap();
}
