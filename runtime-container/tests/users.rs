//! User namespaces: asked for by root, and without any privilege at all.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use bulkhead_runtime::Bundle;
use common::Host;
use oci_spec::runtime::{
    LinuxIdMappingBuilder, LinuxMemoryBuilder, LinuxNamespaceBuilder, LinuxNamespaceType,
    LinuxResourcesBuilder,
};

/// An id no account of a Debian host has.
const NOBODY_ELSE: u32 = 61_234;

/// Opens the directories of a host on the way to its layer and state to all.
fn open_to_others(host: &Host) {
    for dir in [host.layer(), host.state().parent().unwrap()] {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn root_can_be_somebody_else_outside() {
    let host = Host::new();
    open_to_others(&host);
    let mut bundle =
        host.script("id -u; cat /proc/self/uid_map; echo x >/tmp/x && stat -c %u /tmp/x");
    let mut linux = bundle.spec.linux().clone().unwrap();
    let mut namespaces = linux.namespaces().clone().unwrap();
    namespaces
        .push(LinuxNamespaceBuilder::default().typ(LinuxNamespaceType::User).build().unwrap());
    let mapping = LinuxIdMappingBuilder::default()
        .container_id(0_u32)
        .host_id(100_000_u32)
        .size(65_536_u32)
        .build()
        .unwrap();
    linux.set_namespaces(Some(namespaces));
    linux.set_uid_mappings(Some(vec![mapping]));
    linux.set_gid_mappings(Some(vec![mapping]));
    bundle.spec.set_linux(Some(linux));
    let ran = host.run(&bundle).unwrap();
    let words: Vec<&str> = ran.text.split_whitespace().collect();
    // The directory of the image belongs to an owner who is nobody in here.
    assert_eq!(words[..4], ["0", "0", "100000", "65536"], "{}", ran.text);
}

/// Runs `bundle` in a process without privilege; 0 when it ran and ended with 0.
fn run_without_privilege(host: &Host, bundle: &Bundle) -> i32 {
    // SAFETY: the child uses the allocator, which glibc's fork leaves usable, and
    // ends without returning into the test harness.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            let dropped = libc::setgroups(0, std::ptr::null()) == 0
                && libc::setgid(NOBODY_ELSE) == 0
                && libc::setuid(NOBODY_ELSE) == 0
                // As a program that was started by this user.
                && libc::prctl(libc::PR_SET_DUMPABLE, 1) == 0;
            let code = match dropped.then(|| host.run(bundle)) {
                None => 99,
                Some(Ok(ran)) => {
                    eprint!("{}", ran.text);
                    i32::from(ran.exit.code())
                }
                Some(Err(error)) => {
                    eprintln!("{error}: {:?}", std::error::Error::source(&error));
                    98
                }
            };
            libc::_exit(code);
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
        libc::WEXITSTATUS(status)
    }
}

#[test]
#[cfg_attr(not(can_sandbox), ignore = "needs root")]
fn an_ordinary_user_gets_a_container_without_limits_and_none_with() {
    let host = Host::new();
    for dir in [host.layer(), host.state().parent().unwrap()] {
        chown(dir, Some(NOBODY_ELSE), Some(NOBODY_ELSE)).unwrap();
        for entry in dir.read_dir().unwrap().flatten() {
            std::os::unix::fs::lchown(entry.path(), Some(NOBODY_ELSE), Some(NOBODY_ELSE))
                .unwrap();
        }
    }
    let script = "set -e; test $(id -u) = 0; test $$ = 1; echo x >/dev/null; echo x >/etc/new
        rm -r /tmp; test $(hostname) = inside; test $(tail -n +3 /proc/net/dev | wc -l) = 1
        grep -q 'Seccomp:.2' /proc/self/status; ! cat /proc/kcore 2>/dev/null";
    assert_eq!(run_without_privilege(&host, &host.script(script)), 0);

    let mut bundle = host.script("true");
    let mut linux = bundle.spec.linux().clone().unwrap();
    let memory = LinuxMemoryBuilder::default().limit(64 << 20).build().unwrap();
    linux.set_resources(Some(LinuxResourcesBuilder::default().memory(memory).build().unwrap()));
    bundle.spec.set_linux(Some(linux));
    assert_eq!(run_without_privilege(&host, &bundle), 98, "a limit was ignored");
    assert_eq!(host.state().read_dir().unwrap().count(), 0);
}
