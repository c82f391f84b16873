//! Nothing of a container stays on the host, however it ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use bulkhead_runtime::{Create, Runtime, SandboxId, Stdio, state};
use common::Host;

/// The cgroups, on any hierarchy, of containers with one of these names.
fn cgroups(ids: &[SandboxId]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    for line in mounts.lines().filter(|line| line.contains(" - cgroup")) {
        let parent = PathBuf::from(line.split(' ').nth(4).unwrap()).join("bulkhead");
        found.extend(ids.iter().map(|id| parent.join(id)).filter(|path| path.exists()));
    }
    found
}

/// Host mounts that have to do with `host`.
fn mounts(host: &Host) -> usize {
    let state = host.state();
    let layer = host.layer().to_str().unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let ours = |line: &&str| line.contains(state.to_str().unwrap()) || line.contains(layer);
    mounts.lines().filter(ours).count()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Children of this process, dead or alive.
fn children() -> Vec<String> {
    let own = std::process::id().to_string();
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1));
        if parent == Some(own.as_str()) {
            children.push(stat);
        }
    }
    children
}

/// One test, since it counts what the whole process has.
#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn nothing_is_left_of_a_container() {
    two_hundred_runs();
    killed_at_any_moment();
}

fn two_hundred_runs() {
    let host = Host::new();
    let bundle = host.bundle(&["/bin/true"]);
    host.run(&bundle).unwrap();
    let before = (descriptors(), mounts(&host), children());
    let mut ids = Vec::new();
    for round in 0..200 {
        let id = SandboxId::random().unwrap();
        let mut sandbox = host.create_as(&id, &bundle, Stdio::null().unwrap()).unwrap();
        // A third each: to the end, dropped while running, dropped before.
        if round % 3 > 0 {
            sandbox.start(None).unwrap();
        }
        if round % 3 > 1 {
            assert_eq!(sandbox.wait(None).unwrap().unwrap().code(), 0);
            sandbox.delete().unwrap();
        }
        drop(sandbox);
        ids.push(id);
    }
    assert_eq!((descriptors(), mounts(&host), children()), before);
    assert_eq!(cgroups(&ids), Vec::<PathBuf>::new());
    assert!(state::list(&host.state()).unwrap().is_empty());
}

fn killed_at_any_moment() {
    let host = Host::new();
    let mut ids = Vec::new();
    for round in 0..40_u64 {
        let id: SandboxId = format!("killed-{}-{round}", std::process::id()).parse().unwrap();
        let creator = fork_creator(&host, &id, round % 4 == 3);
        // From before anything exists to well after the start.
        std::thread::sleep(Duration::from_micros(round * 250));
        // SAFETY: a child of ours that has not been reaped.
        unsafe {
            libc::kill(creator, libc::SIGKILL);
            libc::waitpid(creator, std::ptr::null_mut(), 0);
        }
        host.runtime.purge(&id).unwrap();
        host.runtime.purge(&id).unwrap();
        ids.push(id);
    }
    assert_eq!(cgroups(&ids), Vec::<PathBuf>::new());
    assert!(state::list(&host.state()).unwrap().is_empty());
    assert_eq!(mounts(&host), 0);
    let marker = host.layer().to_str().unwrap().to_owned();
    // The last ones may still be on their way out of their own accord.
    for _ in 0..100 {
        if survivors(&marker).is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("still running: {:?}", survivors(&marker));
}

/// A process that runs a container and waits to be killed.
fn fork_creator(host: &Host, id: &SandboxId, init: bool) -> i32 {
    let bundle = host.bundle(&["/bin/sleep", "61.5"]);
    // SAFETY: the child uses the allocator, which glibc's fork leaves usable, and
    // never returns into the test harness.
    let pid = unsafe { libc::fork() };
    if pid != 0 {
        return pid;
    }
    let request = Create::attached(id, &bundle, Stdio::null().unwrap());
    let created = host.runtime.create(Create { init, ..request });
    let started = created.and_then(|mut sandbox| sandbox.start(None).map(|()| sandbox));
    let _kept = std::mem::ManuallyDrop::new(started);
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Processes whose root is an overlay on `layer`.
fn survivors(layer: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let mounts = fs::read_to_string(entry.path().join("mountinfo")).unwrap_or_default();
        if mounts.lines().any(|line| line.contains(" / / ") && line.contains(layer)) {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found
}
