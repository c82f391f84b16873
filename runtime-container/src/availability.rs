//! What this wall needs of a host, and how to get it.

use std::fs;
use std::path::Path;

use bulkhead_runtime::{Availability, Missing};

use crate::cgroup::Layout;

/// The namespaces, by their names in `/proc/self/ns`, and the kernel option
/// that brings each.
const NAMESPACES: [(&str, &str); 6] = [
    ("mnt", "CONFIG_NAMESPACES"),
    ("pid", "CONFIG_PID_NS"),
    ("net", "CONFIG_NET_NS"),
    ("ipc", "CONFIG_IPC_NS"),
    ("uts", "CONFIG_UTS_NS"),
    ("cgroup", "CONFIG_CGROUPS"),
];

/// The first kernel with everything the child calls: `mount_setattr(2)` is the
/// youngest of it.
const OLDEST_KERNEL: (u32, u32) = (5, 12);

/// Looks, and changes nothing.
pub(crate) fn check() -> Availability {
    let privileged = rustix::process::geteuid().is_root();
    let mut missing = Vec::new();
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    if version(&release).is_none_or(|found| found < OLDEST_KERNEL) {
        let (major, minor) = OLDEST_KERNEL;
        missing.push(Missing {
            what: format!("Linux {major}.{minor} or later (this is {release})"),
            remedy: "upgrade the kernel (Debian 12 has 6.1)".into(),
        });
    }
    for (name, option) in NAMESPACES {
        if !Path::new("/proc/self/ns").join(name).exists() {
            let remedy = format!("use a kernel with {option}");
            missing.push(Missing { what: format!("{name} namespaces"), remedy });
        }
    }
    if !has_overlayfs() {
        missing.push(Missing {
            what: "overlayfs".into(),
            remedy: "load it (modprobe overlay) or use a kernel with CONFIG_OVERLAY_FS".into(),
        });
    }
    if privileged && Layout::detect().is_err() {
        missing.push(Missing {
            what: "cgroups".into(),
            remedy: "mount -t cgroup2 cgroup2 /sys/fs/cgroup".into(),
        });
    }
    if !privileged && !user_namespaces_allowed() {
        missing.push(Missing {
            what: "user namespaces for ordinary users".into(),
            remedy: "run as root, or set the sysctls user.max_user_namespaces and (Debian) \
                     kernel.unprivileged_userns_clone"
                .into(),
        });
    }
    if missing.is_empty() { Availability::Ready } else { Availability::Unavailable(missing) }
}

/// The first two numbers of a release such as `6.1.0-18-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(['.', '-', '+']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// A module that is not loaded yet is not listed, but the kernel loads it when
/// it is first mounted.
fn has_overlayfs() -> bool {
    let listed = fs::read_to_string("/proc/filesystems")
        .is_ok_and(|list| list.lines().any(|line| line.ends_with("\toverlay")));
    listed || Path::new("/sys/module/overlay").exists() || has_module()
}

fn has_module() -> bool {
    let Ok(release) = fs::read_to_string("/proc/sys/kernel/osrelease") else { return false };
    let modules = Path::new("/lib/modules").join(release.trim()).join("modules.dep");
    fs::read_to_string(modules)
        .is_ok_and(|list| list.lines().any(|line| line.contains("/overlayfs/overlay.ko")))
}

fn user_namespaces_allowed() -> bool {
    let allowed = |file: &str, absent: bool| {
        fs::read_to_string(file).map_or(absent, |text| text.trim() != "0")
    };
    allowed("/proc/sys/user/max_user_namespaces", false)
        && allowed("/proc/sys/kernel/unprivileged_userns_clone", true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_are_read() {
        assert_eq!(version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(version("5.10+"), Some((5, 10)));
        assert_eq!(version("linux"), None);
    }

    #[test]
    #[cfg_attr(not(can_sandbox), ignore = "needs root")]
    fn a_host_that_runs_these_tests_is_ready() {
        assert_eq!(check(), Availability::Ready);
    }
}
