//! What the child does between `clone3` and `execve`, as data.
//!
//! The parent turns the runtime spec into a list of [`Step`]s; the child only
//! walks the list. So everything that allocates, parses or can be refused
//! happens before anything exists that would have to be undone, the child is a
//! handful of system calls with no decisions in it, and a failure is reported
//! as a position in the list, which the parent can describe.

use std::borrow::Cow;
use std::ffi::{CStr, CString};
use std::fmt;
use std::os::fd::RawFd;

use crate::sys::MountAttr;

/// One thing the child does to itself or its namespaces.
///
/// A child that was made ahead is told its last steps later and reads them where
/// they are, since it cannot allocate: those can borrow what they are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// Wait until the parent has written the user namespace's mappings, then
    /// become its root.
    AwaitMappings,
    /// Enter the cgroup whose `tasks` file is open as this descriptor.
    JoinCgroup(RawFd),
    /// Move into new namespaces (`CLONE_NEW*`).
    Unshare(i32),
    /// Enter an existing namespace of this kind.
    Enter { fd: RawFd, kind: i32 },
    /// Write `data` to an existing file.
    WriteFile { path: CString, data: Vec<u8> },
    /// Change the propagation of a mount and those below it.
    Propagation { target: CString, flags: u64 },
    /// Take a detached copy of a host mount, kept in a slot until it is attached.
    CloneTree { path: CString, slot: usize, recursive: bool },
    /// Create a directory that must not exist.
    Mkdir(CString),
    /// Mount a filesystem, creating the mount point if it is not there.
    Mount(Mount),
    /// Attach the detached mount in `slot`.
    Attach { slot: usize, target: Target, attributes: MountAttr, recursive: bool },
    /// Make `new_root` the root.
    Pivot { new_root: CString },
    /// Detach the old root and everything on it.
    DetachOldRoot,
    /// Note when the root filesystem was entered.
    StampRootfs,
    /// Create a device node.
    Node { path: CString, mode: u32, device: u64, uid: u32, gid: u32 },
    /// Create a symbolic link; what is there already stays.
    Symlink { target: CString, path: CString },
    /// Create a directory and those above it where missing.
    EnsureDirectory(Cow<'a, CStr>),
    /// Put a file into the root filesystem, in the place of whatever is there.
    PlaceFile { directory: Cow<'a, CStr>, name: Cow<'a, CStr>, content: Cow<'a, [u8]> },
    /// Hide what is at a path, if there is anything.
    Mask(CString),
    /// Make what is at a path read-only, if there is anything.
    ReadOnly(CString),
    /// Change the attributes of the mount at a path.
    SetAttributes { path: Cow<'a, CStr>, attributes: MountAttr },
    /// Set the host name.
    Hostname(Cow<'a, [u8]>),
    /// Set the NIS domain name.
    Domainname(Cow<'a, [u8]>),
    /// Bring the loopback interface up.
    LoopbackUp,
    /// Set a resource limit.
    Limit { resource: u32, name: &'static str, soft: u64, hard: u64 },
    /// Give the terminal that is standard input to its user, and show it as the
    /// container's console.
    Terminal { uid: u32, is_console: bool },
    /// Start a session, with standard input as its terminal if `terminal`.
    Session { terminal: bool },
    /// Be killed when the creator dies.
    DieWithParent,
    /// Remove capabilities from the bounding set: those whose bit is 0.
    Bounding(u64),
    /// Take the workload's user and groups, keeping permitted capabilities.
    Become { uid: u32, gid: u32, groups: Cow<'a, [u32]> },
    /// Set the four capability sets.
    Capabilities(CapabilitySets),
    /// Never gain privileges through `execve`.
    NoNewPrivileges,
    /// Install a seccomp filter.
    Seccomp { flags: u32, program: Cow<'a, [libc::sock_filter]> },
    /// Set the file creation mask.
    Umask(u32),
    /// Enter the working directory, which must be inside the root.
    Chdir(Cow<'a, CStr>),
    /// Let no other process of the container look into this one.
    NotDumpable,
}

/// A mount as `mount(2)` takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub fstype: CString,
    pub source: CString,
    pub target: Target,
    pub flags: u64,
    pub data: Option<CString>,
    /// The mount point must not be reached through a symbolic link.
    pub strict: bool,
}

/// A path inside the new root that is created where it is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub path: CString,
    /// Created as an empty file instead of a directory.
    pub is_file: bool,
}

/// Capability sets as bit masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CapabilitySets {
    pub bounding: u64,
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub ambient: u64,
}

struct Quoted<'a>(&'a CStr);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_string_lossy())
    }
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AwaitMappings => f.write_str("becoming root of the user namespace"),
            Self::JoinCgroup(_) => f.write_str("joining a cgroup"),
            Self::Unshare(_) => f.write_str("creating the cgroup namespace"),
            Self::Enter { .. } => f.write_str("entering an existing namespace"),
            Self::WriteFile { path, .. } => write!(f, "writing {}", Quoted(path)),
            Self::Propagation { target, .. } => {
                write!(f, "setting the propagation of {}", Quoted(target))
            }
            Self::CloneTree { path, .. } => {
                write!(f, "opening the mount source {}", Quoted(path))
            }
            Self::Mkdir(path) => write!(f, "creating {}", Quoted(path)),
            Self::Mount(mount) => {
                write!(
                    f,
                    "mounting {} on {}",
                    Quoted(&mount.fstype),
                    Quoted(&mount.target.path)
                )
            }
            Self::Attach { target, .. } => write!(f, "mounting on {}", Quoted(&target.path)),
            Self::Pivot { .. } => f.write_str("changing the root directory"),
            Self::DetachOldRoot => f.write_str("detaching the host's tree"),
            Self::StampRootfs => f.write_str("reading the clock"),
            Self::Node { path, .. } => write!(f, "creating the device {}", Quoted(path)),
            Self::Symlink { path, .. } => write!(f, "creating the link {}", Quoted(path)),
            Self::EnsureDirectory(path) => {
                write!(f, "creating the directory {}", Quoted(path))
            }
            Self::PlaceFile { directory, name, .. } => {
                write!(f, "placing {}/{}", Quoted(directory), Quoted(name))
            }
            Self::Mask(path) => write!(f, "masking {}", Quoted(path)),
            Self::ReadOnly(path) => write!(f, "making {} read-only", Quoted(path)),
            Self::SetAttributes { path, .. } => {
                write!(f, "changing the mount at {}", Quoted(path))
            }
            Self::Hostname(_) => f.write_str("setting the host name"),
            Self::Domainname(_) => f.write_str("setting the domain name"),
            Self::LoopbackUp => f.write_str("bringing the loopback interface up"),
            Self::Limit { name, .. } => write!(f, "setting the limit {name}"),
            Self::Terminal { .. } => f.write_str("setting up the terminal"),
            Self::Session { terminal: false } => f.write_str("starting a session"),
            Self::Session { terminal: true } => f.write_str("taking the terminal"),
            Self::DieWithParent => f.write_str("tying the container to its creator"),
            Self::Bounding(_) => f.write_str("dropping capabilities"),
            Self::Become { uid, gid, .. } => write!(f, "becoming user {uid}, group {gid}"),
            Self::Capabilities(_) => f.write_str("setting capabilities"),
            Self::NoNewPrivileges => f.write_str("forbidding new privileges"),
            Self::Seccomp { .. } => f.write_str("installing the seccomp filter"),
            Self::Umask(_) => f.write_str("setting the file creation mask"),
            Self::Chdir(path) => write!(f, "entering the working directory {}", Quoted(path)),
            Self::NotDumpable => f.write_str("closing /proc/self to others"),
        }
    }
}
