//! The cgroup a peer makes for a container: what is charged to it, who is in
//! it, and what of it a crashed peer left.
//!
//! The peer makes and limits it, as `linux.cgroupsPath` and `linux.resources`
//! of the bundle say; here it is read and, if need be, removed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_runtime::{SandboxId, Usage};

use super::error::PeerError;

/// The parent of all cgroups of sandboxes, which `bulkhead gc` looks through.
const PARENT: &str = "bulkhead";

/// How often, and how long apart, the removal of a cgroup is tried: it is busy
/// until the last process in it has been collected.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// The directories of one container's cgroup, one in each hierarchy.
#[derive(Debug, Clone)]
pub struct Cgroup {
    /// Controllers (empty for version 2) and directory.
    dirs: Vec<(String, PathBuf)>,
}

/// `linux.cgroupsPath` of the sandbox `id`.
pub fn path(id: &SandboxId) -> String {
    format!("/{PARENT}/{id}")
}

impl Cgroup {
    /// The cgroup of `id` in all hierarchies of this host, whether or not it exists.
    pub fn of(id: &SandboxId) -> Self {
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
        let dirs = hierarchies(&mounts)
            .map(|(name, mount)| (name, mount.join(PARENT).join(id)))
            .collect();
        Self { dirs }
    }

    /// What is charged to it.
    pub fn usage(&self) -> Usage {
        let number = |controller: &str, file: &str| -> Option<u64> {
            fs::read_to_string(self.dir(controller)?.join(file)).ok()?.trim().parse().ok()
        };
        let keyed = |controller: &str, file: &str, key: &str| {
            let text = fs::read_to_string(self.dir(controller)?.join(file)).ok()?;
            value_of(&text, key)
        };
        // Each figure under its name in version 1, then in version 2.
        let either = |controller, one: &str, two: &str| {
            number(controller, one).or_else(|| number(controller, two))
        };
        Usage {
            memory_bytes: either("memory", "memory.usage_in_bytes", "memory.current"),
            memory_peak_bytes: either("memory", "memory.max_usage_in_bytes", "memory.peak"),
            kernel_memory_bytes: number("memory", "memory.kmem.usage_in_bytes")
                .or_else(|| keyed("memory", "memory.stat", "kernel")),
            cpu_ns: number("cpuacct", "cpuacct.usage")
                .or_else(|| keyed("cpu", "cpu.stat", "usage_usec")?.checked_mul(1000)),
            pids: number("pids", "pids.current"),
            ..Usage::default()
        }
    }

    /// How many of its processes were killed for memory.
    pub fn oom_kills(&self) -> u64 {
        ["memory.oom_control", "memory.events"]
            .iter()
            .filter_map(|file| fs::read_to_string(self.dir("memory")?.join(file)).ok())
            .find_map(|text| value_of(&text, "oom_kill"))
            .unwrap_or(0)
    }

    /// The processes in it; none when it does not exist.
    pub fn processes(&self) -> Vec<i32> {
        let read = |dir: &Path| {
            let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<i32>>()
        };
        self.dirs
            .iter()
            .map(|(_, dir)| read(dir))
            .find(|pids| !pids.is_empty())
            .unwrap_or_default()
    }

    /// The directory of it that is still there, if one is.
    pub fn left(&self) -> Option<&Path> {
        self.dirs.iter().map(|(_, dir)| dir.as_path()).find(|dir| dir.exists())
    }

    /// Kills everything in it and removes it. Idempotent.
    pub fn remove(&self) -> Result<(), PeerError> {
        for (_, dir) in &self.dirs {
            remove_tree(dir).map_err(PeerError::io("remove the cgroup", dir))?;
        }
        Ok(())
    }

    /// The directory where `controller` is: version 2 has all in one.
    fn dir(&self, controller: &str) -> Option<&Path> {
        let has = |names: &str| names.is_empty() || names.split(',').any(|n| n == controller);
        self.dirs.iter().find(|(names, _)| has(names)).map(|(_, dir)| dir.as_path())
    }
}

/// The hierarchies in a `mountinfo` (proc_pid_mountinfo(5)): version 1's with
/// their options, which name the controllers, and version 2's if it is the only
/// one: the empty one of a hybrid host has no controllers.
fn hierarchies(mountinfo: &str) -> impl Iterator<Item = (String, PathBuf)> {
    let mut first = Vec::new();
    let mut second = Vec::new();
    for line in mountinfo.lines() {
        let Some((mount, kind)) = line.split_once(" - ") else { continue };
        let Some(point) = mount.split(' ').nth(4).map(PathBuf::from) else { continue };
        let mut kind = kind.split(' ');
        match kind.next() {
            Some("cgroup") => {
                first.push((kind.nth(1).unwrap_or_default().to_owned(), point));
            }
            Some("cgroup2") => second.push((String::new(), point)),
            _ => {}
        }
    }
    if first.is_empty() { second } else { first }.into_iter()
}

/// The number on the line `key number`.
fn value_of(text: &str, key: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(name, _)| *name == key)?.1.trim().parse().ok()
}

/// Kills and removes a cgroup and those below it, which a peer may have made.
fn remove_tree(dir: &Path) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    let mut result = Ok(());
    for _ in 0..ATTEMPTS {
        for pid in fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().lines() {
            if let Ok(pid) = pid.parse() {
                // SAFETY: the process is in the cgroup of a sandbox that is to end; the
                // second call collects it if it is a child of ours.
                unsafe {
                    libc::kill(pid, libc::SIGKILL);
                    libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG);
                }
            }
        }
        result = fs::remove_dir(dir);
        match &result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(_) => std::thread::sleep(PAUSE),
            Ok(()) => return Ok(()),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    #[test]
    fn finds_the_hierarchy_of_a_controller() {
        let cgroup = Cgroup { dirs: hierarchies(V1).collect() };
        assert_eq!(cgroup.dir("memory"), Some(Path::new("/sys/fs/cgroup/memory")));
        assert_eq!(cgroup.dir("cpuacct"), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct")));
        assert_eq!(cgroup.dir("pids"), None);
        let only = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let cgroup = Cgroup { dirs: hierarchies(only).collect() };
        assert_eq!(cgroup.dir("pids"), Some(Path::new("/sys/fs/cgroup")));
    }

    #[test]
    fn reads_keyed_files() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(value_of(text, "oom_kill"), Some(3));
        assert_eq!(value_of(text, "oom"), None);
    }
}
