//! Putting the layers together where only one process sees it.
//!
//! `mkfs.erofs` takes a directory. The merged tree is mounted in a mount
//! namespace that belongs to `mkfs.erofs` alone: however it, or we, end, the
//! mount ends with it and the host never sees it. Without privilege the same
//! is done in a user namespace, in which the caller's files are root's.

use std::ffi::CString;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{DupFlags, dup3};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, chdir, set_parent_process_death_signal};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::{DiskError, read_byte};
use crate::file::FileError;

/// What the child does before it becomes `mkfs.erofs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum StagingStep {
    /// Namespaces of its own.
    Unshare = 1,
    /// The user namespace's one mapping.
    MapUser,
    /// Keeping its mounts to itself.
    MakePrivate,
    /// Opening them, and going where they have short names.
    OpenLayers,
    /// The mount.
    Mount,
}

impl StagingStep {
    const ALL: [Self; 5] =
        [Self::Unshare, Self::MapUser, Self::MakePrivate, Self::OpenLayers, Self::Mount];
}

impl fmt::Display for StagingStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unshare => "make namespaces",
            Self::MapUser => "map the user",
            Self::MakePrivate => "make mounts private",
            Self::OpenLayers => "open the layers",
            Self::Mount => "mount the layers",
        })
    }
}

/// All that the child needs, made ready before the fork: after it, nothing may
/// allocate.
#[derive(Debug)]
pub(super) struct Staging {
    target: CString,
    what: What,
    /// For a process without privilege: the lines of the id maps.
    id_maps: Option<IdMaps>,
    /// The layers, topmost first, and the descriptors that `what` names.
    layers: Vec<(CString, OwnedFd)>,
}

#[derive(Debug)]
enum What {
    /// Overlayfs wants two layers at least; a single one is shown as it is.
    Bind {
        source: CString,
    },
    Overlay {
        options: CString,
    },
}

#[derive(Debug, Clone)]
struct IdMaps {
    user: Vec<u8>,
    group: Vec<u8>,
}

/// Where the child says which step failed.
pub(super) struct FailedStep(File);

impl Staging {
    pub fn new(layers: &[PathBuf], target: &Path) -> Result<Self, DiskError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open_one = |dir: &PathBuf| {
            let dir = std::path::absolute(dir).map_err(FileError::on("find", dir))?;
            let fd = open(&dir, flags, Mode::empty()).map_err(FileError::on("open", &dir))?;
            Ok((c_string(dir.as_os_str().as_bytes()), fd))
        };
        let layers: Vec<_> = layers.iter().map(open_one).collect::<Result<_, FileError>>()?;
        // Mount options have a page of room, which the paths of some sixty
        // layers would fill. As names in `/proc/self/fd`, any number fits.
        let names: Vec<_> = layers.iter().map(|(_, fd)| fd.as_raw_fd().to_string()).collect();
        let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
        let privileged = user.is_root();
        let what = match &names[..] {
            [single] => What::Bind { source: c_string(single.as_bytes()) },
            _ => {
                let userxattr = if privileged { "" } else { ",userxattr" };
                let options = format!("lowerdir={}{userxattr}", names.join(":"));
                What::Overlay { options: c_string(options.as_bytes()) }
            }
        };
        let id_maps = (!privileged).then(|| IdMaps {
            user: format!("0 {} 1", user.as_raw()).into_bytes(),
            group: format!("0 {} 1", group.as_raw()).into_bytes(),
        });
        let target = std::path::absolute(target).map_err(FileError::on("find", target))?;
        let target = c_string(target.as_os_str().as_bytes());
        Ok(Self { target, what, id_maps, layers })
    }

    /// Has the command do the mounting in its process before it starts.
    pub fn before_exec(mut self, command: &mut Command) -> Result<FailedStep, DiskError> {
        let (read, write) =
            pipe_with(PipeFlags::CLOEXEC).map_err(|e| DiskError::Start(e.into()))?;
        let enter = move || {
            self.enter().map_err(|(step, error)| {
                // If even this fails, the error goes without its step.
                let _ = rustix::io::write(&write, &[step as u8]);
                io::Error::from(error)
            })
        };
        // SAFETY: `enter` only makes system calls with arguments prepared
        // before the fork; it neither allocates nor takes locks.
        unsafe { command.pre_exec(enter) };
        Ok(FailedStep(read.into()))
    }

    fn enter(&mut self) -> Result<(), (StagingStep, rustix::io::Errno)> {
        use StagingStep as Step;
        let at = |step| move |error| (step, error);
        // A killed caller takes its child along.
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(at(Step::Unshare))?;
        let mut namespaces = UnshareFlags::NEWNS;
        if self.id_maps.is_some() {
            namespaces |= UnshareFlags::NEWUSER;
        }
        // SAFETY: this process has one thread and is about to become another
        // program; no descriptors are unshared.
        unsafe { unshare_unsafe(namespaces) }.map_err(at(Step::Unshare))?;
        if let Some(maps) = &self.id_maps {
            maps.write().map_err(at(Step::MapUser))?;
        }
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change(c"/", private).map_err(at(Step::MakePrivate))?;
        // A mount can only be made of what is opened in the same namespace.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        for (path, fd) in &mut self.layers {
            let here = open(&**path, flags, Mode::empty()).map_err(at(Step::OpenLayers))?;
            dup3(&here, fd, DupFlags::CLOEXEC).map_err(at(Step::OpenLayers))?;
        }
        chdir(c"/proc/self/fd").map_err(at(Step::OpenLayers))?;
        let mounted = match &self.what {
            What::Bind { source } => mount_bind(&**source, &*self.target),
            What::Overlay { options } => {
                mount(c"overlay", &*self.target, c"overlay", MountFlags::RDONLY, &**options)
            }
        };
        mounted.map_err(at(Step::Mount))
    }
}

impl IdMaps {
    fn write(&self) -> rustix::io::Result<()> {
        // Without this the kernel does not let us map a group
        // (user_namespaces(7)).
        write_file(c"/proc/self/setgroups", b"deny")?;
        write_file(c"/proc/self/uid_map", &self.user)?;
        write_file(c"/proc/self/gid_map", &self.group)
    }
}

fn write_file(path: &std::ffi::CStr, content: &[u8]) -> rustix::io::Result<()> {
    let file = open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, content).map(drop)
}

impl FailedStep {
    /// The step that failed, if it was one of ours. The writing end must be
    /// closed in this process.
    pub fn read(mut self) -> Option<StagingStep> {
        let byte = read_byte(&mut self.0)?;
        StagingStep::ALL.into_iter().find(|step| *step as u8 == byte)
    }
}

/// Paths and numbers hold no NUL.
fn c_string(bytes: &[u8]) -> CString {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    CString::new(&bytes[..end]).unwrap_or_default()
}
