//! Control groups: limits, accounting, and the list of a container's
//! processes, on version 2 and on version 1.
//!
//! A container's cgroup is derived from its name alone, so that whatever a
//! killed runtime leaves behind can be found without any record of it.

mod block_io;
mod devices;
mod files;
mod freezer;
mod layout;
mod v1;
mod v2;

use std::fmt::Debug;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use bulkhead_runtime::{SandboxId, Usage};
use oci_spec::runtime::{LinuxResources, Spec};

pub(crate) use layout::{Hierarchies, Layout};

/// The cgroup that holds those of all containers.
const PARENT: &str = "bulkhead";

/// The version 1 controllers in whose hierarchies every container has a cgroup.
pub(crate) const ALWAYS_JOINED: [&str; 4] = ["memory", "pids", "cpuacct", "devices"];

/// Failure to set up, read or remove cgroups.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// The host has no cgroup filesystem mounted.
    #[error("no cgroup filesystem is mounted (mount one at /sys/fs/cgroup)")]
    NotMounted,
    /// A limit needs a controller the host does not offer.
    #[error("`{field}` needs the {controller} controller, which this host does not offer")]
    NoController {
        /// The field of the spec.
        field: &'static str,
        /// The controller.
        controller: &'static str,
    },
    /// A limit exists on the other cgroup version only.
    #[error("`{field}` does not exist on cgroup version {version}")]
    WrongVersion {
        /// The field of the spec.
        field: &'static str,
        /// The version this host has.
        version: u8,
    },
    /// The kernel was built without what a limit needs.
    #[error("`{field}` needs {file}, which this host's kernel does not have")]
    NoFile {
        /// The field of the spec.
        field: &'static str,
        /// The control file.
        file: String,
    },
    /// The path in the spec leads out of the hierarchy.
    #[error("`linux.cgroupsPath` {} must be a plain path", .0.display())]
    Path(PathBuf),
    /// A device rule makes no sense.
    #[error("a device rule of `linux.resources.devices` is malformed: {0}")]
    DeviceRule(String),
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel did not take the program that guards devices.
    #[error("cannot restrict devices")]
    DeviceProgram(#[source] io::Error),
}

impl CgroupError {
    /// Whether the caller is simply not allowed to.
    pub(crate) fn is_permission(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        matches!(
            source.kind(),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
        )
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CgroupError {
    let path = path.to_owned();
    move |source| CgroupError::Io { action, path, source }
}

/// How a process gets into a cgroup.
#[derive(Debug)]
pub(crate) enum Entry {
    /// By being cloned into the directory open as this descriptor.
    Clone(OwnedFd),
    /// By writing `0` to each of these files itself. A single-threaded process
    /// that moves itself through `tasks` spares the kernel the grace period
    /// that moving another through `cgroup.procs` costs.
    Tasks(Vec<OwnedFd>),
}

impl Entry {
    /// The descriptors to write to, if that is the way.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = RawFd> + '_ {
        use std::os::fd::AsRawFd;
        let files: &[OwnedFd] = match self {
            Self::Tasks(files) => files,
            Self::Clone(_) => &[],
        };
        files.iter().map(AsRawFd::as_raw_fd)
    }
}

/// The cgroup of one container, on one version.
pub(crate) trait Cgroup: Send + Sync + Debug {
    /// Makes it and applies `limits`. What was made stays on failure; `remove`
    /// copes with that.
    fn create(&self, limits: &LinuxResources) -> Result<Entry, CgroupError>;

    /// Replaces those limits of the existing cgroup that `limits` names.
    fn update(&self, limits: &LinuxResources) -> Result<(), CgroupError>;

    /// A way into the existing cgroup.
    fn entry(&self) -> Result<Entry, CgroupError>;

    /// How many of its processes the kernel has killed for memory.
    fn oom_kills(&self) -> u64;

    /// What it uses.
    fn usage(&self) -> Usage;

    /// The processes in it; none when it does not exist.
    fn processes(&self) -> Result<Vec<i32>, CgroupError>;

    /// Holds every process in it where it is.
    fn freeze(&self) -> Result<(), CgroupError>;

    /// Lets them go on; idempotent.
    fn thaw(&self) -> Result<(), CgroupError>;

    /// Whether they are held.
    fn is_frozen(&self) -> bool;

    /// Kills every process in it, also one that is held.
    fn kill(&self) -> Result<(), CgroupError>;

    /// Removes it; idempotent.
    fn remove(&self) -> Result<(), CgroupError>;
}

/// The cgroup at `path`, whether or not it exists.
pub(crate) fn at(layout: &Layout, path: &Path) -> Box<dyn Cgroup> {
    match layout {
        Layout::V1(hierarchies) => Box::new(v1::V1::new(hierarchies.clone(), path.to_owned())),
        Layout::V2(mount) => Box::new(v2::V2::new(mount.clone(), path.to_owned())),
    }
}

/// Where the container's cgroup is, relative to the mount of a hierarchy: what
/// the spec says, or a place derived from its name.
pub(crate) fn path(spec: &Spec, id: &SandboxId) -> Result<PathBuf, CgroupError> {
    let given = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
    let Some(given) = given.filter(|path| !path.as_os_str().is_empty()) else {
        return Ok(default_path(id));
    };
    let relative = given.strip_prefix("/").unwrap_or(given);
    let plain =
        relative.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if plain && relative.components().next().is_some() {
        Ok(relative.to_owned())
    } else {
        Err(CgroupError::Path(given.clone()))
    }
}

/// Where a container's cgroup is unless its spec says otherwise.
pub(crate) fn default_path(id: &SandboxId) -> PathBuf {
    Path::new(PARENT).join(id)
}

/// Whether `resources` limit anything, so that running without cgroups would
/// break a promise. Device rules are none: without cgroups there is no
/// privilege to make device nodes either.
pub(crate) fn limits_anything(resources: &LinuxResources) -> bool {
    let memory = resources.memory().is_some_and(|memory| {
        memory.limit().is_some_and(|limit| limit > 0) || memory.reservation().is_some()
    });
    let cpu = resources.cpu().as_ref().is_some_and(|cpu| {
        cpu.quota().is_some_and(|quota| quota > 0)
            || cpu.shares().is_some()
            || cpu.cpus().is_some()
    });
    let pids = resources.pids().is_some_and(|pids| pids.limit() > 0);
    let unified = resources.unified().as_ref().is_some_and(|map| !map.is_empty());
    let block_io = resources.block_io().is_some();
    memory || cpu || pids || unified || block_io
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::{LinuxBuilder, SpecBuilder};

    fn spec(path: &str) -> Spec {
        let linux = LinuxBuilder::default().cgroups_path(path).build().unwrap();
        SpecBuilder::default().linux(linux).build().unwrap()
    }

    #[test]
    fn a_path_stays_inside_the_hierarchy() {
        let id = "web".parse().unwrap();
        assert_eq!(path(&spec("/a/b"), &id).unwrap(), Path::new("a/b"));
        assert_eq!(path(&spec(""), &id).unwrap(), Path::new("bulkhead/web"));
        for bad in ["/", "../x", "/a/../../b"] {
            assert!(matches!(path(&spec(bad), &id), Err(CgroupError::Path(_))), "{bad}");
        }
    }
}
