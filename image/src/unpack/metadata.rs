//! Giving files the owner, mode, attributes and times of their entries.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{
    AtFlags, Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fchmod,
    fchown, fsetxattr, futimens, lsetxattr, utimensat,
};
use rustix::io::Errno;

use super::EntryError;
use crate::overlay;
use crate::tarball::{Entry, lossy};

/// What an entry says about a file besides its content.
#[derive(Debug, Clone)]
pub(crate) struct Metadata {
    mode: Mode,
    owner: (Uid, Gid),
    times: Timestamps,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What this process may do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Privilege {
    user: Uid,
    group: Gid,
}

impl Privilege {
    pub fn of_this_process() -> Self {
        Self { user: rustix::process::geteuid(), group: rustix::process::getegid() }
    }

    /// Whether owners and device nodes can be made as the image has them.
    /// Without, every file belongs to the user who unpacks, which a user
    /// namespace with that user as root shows as root's.
    pub fn is_full(self) -> bool {
        self.user.is_root()
    }
}

impl Metadata {
    /// Takes it out of an entry.
    pub fn of(entry: &Entry) -> Result<Self, EntryError> {
        let id = |id: u64| {
            // The all-ones id means "leave it" to chown(2).
            u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or(EntryError::Owner(id))
        };
        let mut xattrs = entry.xattrs.clone();
        xattrs.retain(|(name, _)| !overlay::is_private_xattr(name));
        let time = Timespec { tv_sec: entry.mtime.0, tv_nsec: entry.mtime.1.into() };
        Ok(Self {
            mode: Mode::from_raw_mode(entry.mode),
            owner: (Uid::from_raw(id(entry.uid)?), Gid::from_raw(id(entry.gid)?)),
            times: Timestamps { last_access: time, last_modification: time },
            xattrs,
        })
    }

    /// Takes it from a file of a layer, opened with `O_PATH` or otherwise.
    pub fn of_file(dir: impl AsFd) -> io::Result<Self> {
        let stat: Stat = rustix::fs::fstat(&dir)?;
        let time =
            Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec.cast_signed() };
        Ok(Self {
            mode: Mode::from_raw_mode(stat.st_mode & 0o7777),
            owner: (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid)),
            times: Timestamps { last_access: time, last_modification: time },
            xattrs: read_xattrs(self_path(&dir, b"").strip_suffix(b"/").unwrap_or_default())?,
        })
    }

    /// For directories that neither this layer nor those below say anything
    /// about: root's, `rwxr-xr-x`, and the same time on every machine.
    pub fn of_implied_directory() -> Self {
        let time = Timespec { tv_sec: 0, tv_nsec: 0 };
        Self {
            mode: Mode::from_raw_mode(0o755),
            owner: (Uid::ROOT, Gid::ROOT),
            times: Timestamps { last_access: time, last_modification: time },
            xattrs: Vec::new(),
        }
    }

    /// Applies it to an open file or directory. The order matters: a change of
    /// owner clears the setuid bit and the capabilities, and anything but the
    /// times changes the times.
    pub fn apply(&self, fd: impl AsFd, privilege: Privilege) -> Result<(), EntryError> {
        // What is made belongs to the process: nothing to change for most files.
        if privilege.is_full() && self.owner != (privilege.user, privilege.group) {
            fchown(&fd, Some(self.owner.0), Some(self.owner.1))
                .map_err(EntryError::io("chown"))?;
        }
        fchmod(&fd, self.mode).map_err(EntryError::io("chmod"))?;
        self.apply_xattrs(privilege, |name, value| {
            fsetxattr(&fd, name, value, XattrFlags::empty())
        })?;
        futimens(&fd, &self.times).map_err(EntryError::io("set the time"))
    }

    /// Applies it to something that cannot be opened: a symlink, device or
    /// fifo that was just made as `name` in `dir`.
    pub fn apply_at(
        &self,
        dir: impl AsFd,
        name: &OsStr,
        is_symlink: bool,
        privilege: Privilege,
    ) -> Result<(), EntryError> {
        let no_follow = AtFlags::SYMLINK_NOFOLLOW;
        if privilege.is_full() && self.owner != (privilege.user, privilege.group) {
            chownat(&dir, name, Some(self.owner.0), Some(self.owner.1), no_follow)
                .map_err(EntryError::io("chown"))?;
        }
        if !is_symlink {
            chmodat(&dir, name, self.mode, AtFlags::empty())
                .map_err(EntryError::io("chmod"))?;
        }
        let path = self_path(&dir, name.as_bytes());
        self.apply_xattrs(privilege, |xattr, value| {
            lsetxattr(OsStr::from_bytes(&path), xattr, value, XattrFlags::empty())
        })?;
        utimensat(&dir, name, &self.times, no_follow).map_err(EntryError::io("set the time"))
    }

    fn apply_xattrs(
        &self,
        privilege: Privilege,
        set: impl Fn(&OsStr, &[u8]) -> rustix::io::Result<()>,
    ) -> Result<(), EntryError> {
        for (name, value) in &self.xattrs {
            match set(OsStr::from_bytes(name), value) {
                Ok(()) => {}
                // Like owners: only `user.` attributes are anybody's to set.
                Err(Errno::PERM | Errno::OPNOTSUPP) if !privilege.is_full() => {}
                Err(source) => {
                    let source = source.into();
                    return Err(EntryError::Xattr { name: lossy(name), source });
                }
            }
        }
        Ok(())
    }
}

/// A path to `name` in an open directory for calls that have no `*at` form.
fn self_path(dir: impl AsFd, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

/// All extended attributes of a file but those of overlayfs.
pub(crate) fn read_xattrs(path: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    // Limits of the kernel: `XATTR_LIST_MAX` and `XATTR_SIZE_MAX`.
    let mut buffer = vec![0; 64 * 1024];
    let path = OsStr::from_bytes(path);
    let len = match rustix::fs::listxattr(path, &mut buffer[..]) {
        Ok(len) => len,
        Err(Errno::OPNOTSUPP) => 0,
        Err(e) => return Err(e.into()),
    };
    let names = buffer[..len].to_vec();
    let mut xattrs = Vec::new();
    for name in names.split(|b| *b == 0).filter(|name| !name.is_empty()) {
        if !overlay::is_private_xattr(name) {
            let len = rustix::fs::getxattr(path, OsStr::from_bytes(name), &mut buffer[..])?;
            xattrs.push((name.to_owned(), buffer[..len].to_owned()));
        }
    }
    Ok(xattrs)
}
