//! The directory a layer is unpacked into, and the only way to touch it.
//!
//! Directories are opened by `openat2` beneath the root, following no symlink
//! at all; everything else is done on one name in an open directory, with calls
//! that do not follow a symlink under that name. What an archive says can thus
//! never reach a file outside, not even if the archive changes the tree between
//! two entries.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, open, openat, openat2, statat,
    unlinkat,
};
use rustix::io::Errno;

use super::path::LayerPath;

/// No way out, whatever is in the tree.
const CONFINED: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// For directories that things are made in.
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// An open root.
#[derive(Debug)]
pub(super) struct Root {
    fd: OwnedFd,
    /// The directory used last. Archives list directories one after another,
    /// so most entries are where the one before was.
    last: Option<(Vec<u8>, OwnedFd)>,
}

/// What is under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occupant {
    Nothing,
    Directory,
    Other,
}

impl Root {
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { fd: open(path, DIRECTORY, Mode::empty())?, last: None })
    }

    /// Opens the directory at a clean path, `""` being the root itself.
    pub fn directory(&mut self, path: &[u8]) -> rustix::io::Result<BorrowedFd<'_>> {
        if path.is_empty() {
            return Ok(self.fd.as_fd());
        }
        let fd = match self.last.take() {
            Some((last, fd)) if last == path => fd,
            _ => self.open_again(path, DIRECTORY)?,
        };
        Ok(self.last.insert((path.to_owned(), fd)).1.as_fd())
    }

    /// Opens a directory anew, to read it or to change its attributes.
    pub fn open_again(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = flags | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat2(&self.fd, OsStr::from_bytes(path), flags, Mode::empty(), CONFINED)
    }

    /// What is at a path, following no symlink; nothing, if the directory it
    /// would be in does not exist.
    pub fn occupant(&mut self, path: &LayerPath) -> rustix::io::Result<Occupant> {
        let Some((parent, name)) = path.split() else { return Ok(Occupant::Directory) };
        match self.directory(parent) {
            Ok(dir) => occupant(dir, OsStr::from_bytes(name)),
            Err(Errno::NOENT) => Ok(Occupant::Nothing),
            Err(e) => Err(e),
        }
    }

    /// Forgets the directory used last, which may be about to be removed.
    pub fn forget(&mut self) {
        self.last = None;
    }
}

/// What is under a name in a directory.
pub(super) fn occupant(dir: impl AsFd, name: &OsStr) -> rustix::io::Result<Occupant> {
    let stat: Stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(Occupant::Nothing),
        Err(e) => return Err(e),
    };
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Occupant::Directory,
        _ => Occupant::Other,
    })
}

/// Removes a directory and all it holds, never leaving it: each directory is
/// opened by its one name without following symlinks. One level of directories
/// is open per level of the tree, so a tree too deep for the limit of open
/// files is an error, not a way out.
pub(super) fn remove_tree(dir: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let tree = openat(dir, name, flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&tree)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    for inner in names {
        let inner = OsStr::from_bytes(inner.to_bytes());
        if occupant(&tree, inner)? == Occupant::Directory {
            remove_tree(tree.as_fd(), inner)?;
        } else {
            unlinkat(&tree, inner, AtFlags::empty())?;
        }
    }
    unlinkat(dir, name, AtFlags::REMOVEDIR)
}
