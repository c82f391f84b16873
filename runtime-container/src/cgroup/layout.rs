//! Which cgroup version the host has, and where it is mounted.

use std::fs;
use std::path::{Path, PathBuf};

use super::{CgroupError, io_error};

/// The cgroup filesystems of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One hierarchy with all controllers, mounted here.
    V2(PathBuf),
    /// A hierarchy per controller. A hybrid host, with an additional version 2
    /// hierarchy that has no controllers, counts as this.
    V1(Hierarchies),
}

/// The version 1 hierarchies: controllers as the mount options name them, and
/// the mount point.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hierarchies(Vec<(String, PathBuf)>);

impl Hierarchies {
    /// The mount point of the hierarchy with `controller`.
    pub(crate) fn of(&self, controller: &str) -> Option<&Path> {
        self.0
            .iter()
            .find(|(controllers, _)| controllers.split(',').any(|name| name == controller))
            .map(|(_, mount)| mount.as_path())
    }

    /// All of them: controllers and mount point.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.0.iter().map(|(controllers, mount)| (controllers.as_str(), mount.as_path()))
    }
}

/// The controllers this crate uses.
const CONTROLLERS: [&str; 8] =
    ["memory", "pids", "cpu", "cpuacct", "cpuset", "devices", "freezer", "blkio"];

impl Layout {
    /// Looks at the mounts of the calling thread, which may have a mount
    /// namespace of its own.
    pub(crate) fn detect() -> Result<Self, CgroupError> {
        let path = Path::new("/proc/thread-self/mountinfo");
        let text = fs::read_to_string(path).map_err(io_error("read", path))?;
        Self::from_mountinfo(&text).ok_or(CgroupError::NotMounted)
    }

    /// Reads `proc_pid_mountinfo(5)`.
    fn from_mountinfo(text: &str) -> Option<Self> {
        let mut unified = None;
        let mut hierarchies = Vec::new();
        for line in text.lines() {
            let Some((mount, kind)) = line.split_once(" - ") else { continue };
            let mut kind = kind.split(' ');
            let fstype = kind.next().unwrap_or_default();
            let Some(point) = mount.split(' ').nth(4).map(PathBuf::from) else { continue };
            match fstype {
                "cgroup2" => unified = unified.or(Some(point)),
                "cgroup" => {
                    let options = kind.nth(1).unwrap_or_default();
                    let controllers: Vec<&str> =
                        options.split(',').filter(|name| CONTROLLERS.contains(name)).collect();
                    let name = controllers.join(",");
                    let known = hierarchies.iter().any(|(seen, _)| *seen == name);
                    if !controllers.is_empty() && !known {
                        hierarchies.push((name, point));
                    }
                }
                _ => {}
            }
        }
        if hierarchies.is_empty() {
            unified.map(Self::V2)
        } else {
            Some(Self::V1(Hierarchies(hierarchies)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn a_hybrid_host_has_its_controllers_on_version_1() {
        let Some(Layout::V1(found)) = Layout::from_mountinfo(HYBRID) else { panic!() };
        assert_eq!(found.of("cpuacct"), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct")));
        assert_eq!(found.of("memory"), Some(Path::new("/sys/fs/cgroup/memory")));
        assert_eq!(found.of("pids"), None);
        assert_eq!(found.iter().count(), 2);
    }

    #[test]
    fn version_2_is_one_mount() {
        let text = "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(Layout::from_mountinfo(text), Some(Layout::V2("/sys/fs/cgroup".into())));
        assert_eq!(Layout::from_mountinfo("22 27 0:21 / /proc rw - proc proc rw\n"), None);
    }
}
