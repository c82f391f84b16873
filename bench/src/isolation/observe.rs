//! What the host's `/proc` shows of a sandbox's processes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The kinds of namespace (namespaces(7)), as named in `/proc/<pid>/ns`.
const NAMESPACES: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];

/// Capabilities by number (linux/capability.h).
#[rustfmt::skip]
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID",
    "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW",
    "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE",
    "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ",
    "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
];

/// A file of procfs; empty when the process is gone or hides it.
pub fn text(path: impl AsRef<Path>) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// `pids` and all their descendants.
pub fn family(pids: &[i32]) -> Vec<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for pid in all_processes() {
        if let Some(parent) = parent(&text(format!("/proc/{pid}/stat"))) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut family = pids.to_vec();
    let mut next = 0;
    while let Some(pid) = family.get(next).copied() {
        let unknown = children.remove(&pid).unwrap_or_default();
        family.extend(unknown.into_iter().filter(|child| !pids.contains(child)));
        next += 1;
    }
    family
}

fn all_processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Field 4 of proc_pid_stat(5); the name before it may contain anything.
fn parent(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// What the descriptors of a process lead to: `socket:[4711]`,
/// `anon_inode:[io_uring]`, …
pub fn descriptors(pid: i32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.map(|link| link.to_string_lossy().into_owned()).collect()
}

/// A process's namespace of one kind, as a text that is the same for all in it.
pub fn namespace(pid: i32, kind: &str) -> Option<String> {
    let link = fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()?;
    Some(link.to_string_lossy().into_owned())
}

/// The kinds of namespace that `pid` does not share with this process.
pub fn own_namespaces(pid: i32) -> Vec<String> {
    let ours = i32::try_from(std::process::id()).unwrap_or(0);
    let apart = |kind: &&str| {
        let theirs = namespace(pid, kind);
        theirs.is_some() && theirs != namespace(ours, kind)
    };
    NAMESPACES.into_iter().filter(apart).map(str::to_owned).collect()
}

/// A field of proc_pid_status(5), its name without the colon.
pub fn status(pid: i32, field: &str) -> Option<String> {
    field_of(&text(format!("/proc/{pid}/status")), field)
}

fn field_of(status: &str, field: &str) -> Option<String> {
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(value.trim().to_owned())
}

/// A number among the fields of proc_pid_status(5).
pub fn status_number(pid: i32, field: &str) -> Option<u64> {
    status(pid, field)?.split_ascii_whitespace().next()?.parse().ok()
}

/// Whether `field` is at least `value` for every thread: a filter or a flag that
/// one of them lacks is not there.
pub fn every_thread(pid: i32, field: &str, value: u64) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut threads = tasks.map(|task| text(task.path().join("status"))).peekable();
    let has = |status: String| {
        field_of(&status, field).and_then(|text| text.parse::<u64>().ok()) >= Some(value)
    };
    threads.peek().is_some() && threads.all(has)
}

/// The effective capabilities, by name.
pub fn capabilities(pid: i32) -> Vec<String> {
    let mask = status(pid, "CapEff").and_then(|hex| u64::from_str_radix(&hex, 16).ok());
    named(mask.unwrap_or(0))
}

fn named(mask: u64) -> Vec<String> {
    let bits = (0..u64::BITS).filter(|bit| mask & (1 << bit) != 0);
    bits.map(|bit| {
        let known = usize::try_from(bit).ok().and_then(|bit| CAPABILITIES.get(bit));
        known.map_or_else(|| format!("CAP_{bit}"), |name| (*name).to_owned())
    })
    .collect()
}

/// All user namespaces of these processes.
pub fn user_namespaces(pids: &[i32]) -> BTreeSet<String> {
    pids.iter().filter_map(|&pid| namespace(pid, "user")).collect()
}

/// The directory of the cgroup that limits `pid` in this respect, on either
/// version.
pub fn cgroup(pid: i32, controller: &str) -> Option<PathBuf> {
    let membership = text(format!("/proc/{pid}/cgroup"));
    cgroup_in(&text("/proc/self/mountinfo"), &membership, controller)
}

fn cgroup_in(mountinfo: &str, membership: &str, controller: &str) -> Option<PathBuf> {
    let path_of = |wanted: &str| {
        membership.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let controllers = fields.next()?;
            let path = fields.next()?;
            controllers.split(',').any(|name| name == wanted).then_some(path)
        })
    };
    let mounted = |kind: &str, option: Option<&str>| {
        mountinfo.lines().find_map(|line| {
            let (mount, rest) = line.split_once(" - ")?;
            let mut rest = rest.split(' ');
            let right = rest.next()? == kind
                && option.is_none_or(|wanted| {
                    rest.nth(1).is_some_and(|all| all.split(',').any(|name| name == wanted))
                });
            let mut fields = mount.split(' ').skip(3);
            right.then_some((fields.next()?, fields.next()?))
        })
    };
    let (path, (root, point)) = match path_of(controller) {
        Some(path) => (path, mounted("cgroup", Some(controller))?),
        None => (path_of("")?, mounted("cgroup2", None)?),
    };
    // A harness in a container of its own sees a part of the hierarchy only.
    let below = path.strip_prefix(root).unwrap_or(path).trim_start_matches('/');
    Some(Path::new(point).join(below))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cgroups_are_found_on_both_versions() {
        let v1 = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                  41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let membership = "8:pids:/\n4:memory:/bulkhead/x\n0::/\n";
        let found = cgroup_in(v1, membership, "memory");
        assert_eq!(found, Some("/sys/fs/cgroup/memory/bulkhead/x".into()));
        let v2 = "30 23 0:26 /outer /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n";
        let found = cgroup_in(v2, "0::/outer/bulkhead/x\n", "pids");
        assert_eq!(found, Some("/sys/fs/cgroup/bulkhead/x".into()));
        assert_eq!(cgroup_in("", "0::/\n", "pids"), None);
    }

    #[test]
    fn this_process_is_seen() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(own_namespaces(own), Vec::<String>::new());
        assert!(!user_namespaces(&[own]).is_empty() && !descriptors(own).is_empty());
        assert!(status_number(own, "Threads").unwrap() >= 1);
        assert!(!every_thread(-1, "Seccomp", 0), "a process that is gone has nothing");
        let child = std::process::Command::new("sleep").arg("60").spawn();
        let mut child = child.unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        // Not of this process: other tests begin and end threads of it meanwhile.
        assert!(every_thread(pid, "Seccomp", 0) && !every_thread(pid, "Seccomp", 3));
        let family = family(&[own]);
        assert!(family.contains(&pid), "{family:?}");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn capabilities_have_names() {
        assert_eq!(named(1 << 21 | 1), ["CAP_CHOWN", "CAP_SYS_ADMIN"]);
        assert_eq!(named(1 << 60), ["CAP_60"]);
    }

    proptest! {
        #[test]
        fn parsers_never_panic(one: String, two: String) {
            cgroup_in(&one, &two, "memory");
            parent(&one);
            field_of(&one, "CapEff");
        }
    }
}
