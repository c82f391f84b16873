//! Cgroup version 2, on any host: in a mount namespace without version 1.
//!
//! Where the controllers are bound to version 1, limits cannot be enforced
//! there; entering, the device rules and the end can be shown all the same.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};

use bulkhead_runtime::{SandboxId, Stdio};
use common::Host;
use oci_spec::runtime::{LinuxMemoryBuilder, LinuxResourcesBuilder};

const MOUNTS: &str = "/proc/thread-self/mountinfo";

/// Gives the calling thread a view of the host with version 2 only; returns
/// where it is mounted.
fn unified() -> PathBuf {
    let root = c"/".as_ptr();
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: changes the mount namespace of this thread alone.
    unsafe {
        assert_eq!(libc::unshare(libc::CLONE_NEWNS), 0);
        let made = libc::mount(root, root, std::ptr::null(), private, std::ptr::null());
        assert_eq!(made, 0);
    }
    let mounts = fs::read_to_string(MOUNTS).unwrap();
    for line in mounts.lines().filter(|line| line.contains(" - cgroup cgroup ")) {
        let point = CString::new(line.split(' ').nth(4).unwrap()).unwrap();
        // SAFETY: a terminated string.
        assert_eq!(unsafe { libc::umount2(point.as_ptr(), libc::MNT_DETACH) }, 0);
    }
    let point = |mounts: &str| {
        let line = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
        Some(PathBuf::from(line.split(' ').nth(4)?))
    };
    if let Some(found) = point(&mounts) {
        return found;
    }
    let (kind, at) = (c"cgroup2".as_ptr(), c"/sys/fs/cgroup");
    // SAFETY: terminated strings.
    let made = unsafe { libc::mount(kind, at.as_ptr(), kind, 0, std::ptr::null()) };
    assert_eq!(made, 0, "cgroup2 cannot be mounted");
    at.to_str().unwrap().into()
}

fn cgroup(mount: &Path, id: &SandboxId) -> PathBuf {
    mount.join("bulkhead").join(id)
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn a_container_is_born_in_its_cgroup_and_guarded_there() {
    let mount = unified();
    let host = Host::new();
    let id = SandboxId::random().unwrap();
    let (output, stdio) = common::capture();
    // Until its input ends, the shell is the only process.
    let script = "read wait; grep ^0: /proc/self/cgroup; echo x >/dev/null && echo null
        mknod /tmp/disk b 254 0; head -c1 /tmp/disk 2>&1 | grep -c 'not permitted'";
    let (input, held) = std::io::pipe().unwrap();
    let stdio = Stdio { stdin: input.into(), ..stdio };
    let mut sandbox = host.create_as(&id, &host.script(script), stdio).unwrap();
    sandbox.start(None).unwrap();
    let processes = sandbox.processes().unwrap();
    assert_eq!(processes.len(), 1);
    let procs = fs::read_to_string(cgroup(&mount, &id).join("cgroup.procs")).unwrap();
    assert_eq!(procs.trim(), processes[0].pid.to_string());
    drop(held);
    assert_eq!(common::read(output), "0::/\nnull\n1\n");
    sandbox.wait(None).unwrap();
    sandbox.delete().unwrap();
    assert!(!cgroup(&mount, &id).exists());
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn limits_hold_or_are_refused() {
    let mount = unified();
    let host = Host::new();
    let mut bundle = host.script("exec tail -n1 /dev/zero");
    let memory = LinuxMemoryBuilder::default().limit(16 << 20).build().unwrap();
    let limits = LinuxResourcesBuilder::default().memory(memory).build().unwrap();
    let mut linux = bundle.spec.linux().clone().unwrap();
    linux.set_resources(Some(limits));
    bundle.spec.set_linux(Some(linux));
    let controllers = fs::read_to_string(mount.join("cgroup.controllers")).unwrap();
    let ran = host.run(&bundle);
    if controllers.split_whitespace().any(|name| name == "memory") {
        assert!(ran.unwrap().exit.oom_killed);
    } else {
        assert!(ran.is_err(), "a limit was ignored");
    }
    assert_eq!(host.state().read_dir().map_or(0, Iterator::count), 0);
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn a_further_process_is_born_in_the_cgroup_too() {
    let _mount = unified();
    let host = Host::new();
    let bundle = host.script("exec sleep 60");
    let mut sandbox = host.create(&bundle, Stdio::null().unwrap()).unwrap();
    sandbox.start(None).unwrap();
    let process = host.script("exec sleep 60").spec.process().clone().unwrap();
    let mut exec = sandbox.exec(&process, Stdio::null().unwrap()).unwrap();
    assert_eq!(sandbox.processes().unwrap().len(), 2);
    exec.delete().unwrap();
    sandbox.delete().unwrap();
}
