//! The trees that files are copied from: the context, other stages and images, and
//! what a command has left in the root filesystem.

use std::fmt;
use std::fs::File;
use std::io;

use rustix::fs::{FileType, Stat, major, minor};

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
    Symlink(Vec<u8>),
    Character(u32, u32),
    Block(u32, u32),
    Fifo,
    Socket,
}

/// What a file is, and what goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meta {
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Bytes of content.
    pub size: u64,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Meta {
    /// A directory of root's that nobody has said anything about.
    pub fn directory(mtime: i64) -> Self {
        Self {
            kind: Kind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime,
            size: 0,
            xattrs: Vec::new(),
        }
    }

    /// A file of root's.
    pub fn file(size: u64, mode: u32, mtime: i64) -> Self {
        Self { kind: Kind::File, mode, size, ..Self::directory(mtime) }
    }

    /// What the kernel says of a file. `target` reads where a symlink leads.
    pub fn of(stat: &Stat, target: impl FnOnce() -> io::Result<Vec<u8>>) -> io::Result<Self> {
        let device = (major(stat.st_rdev), minor(stat.st_rdev));
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink(target()?),
            FileType::CharacterDevice => Kind::Character(device.0, device.1),
            FileType::BlockDevice => Kind::Block(device.0, device.1),
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            FileType::RegularFile | FileType::Unknown => Kind::File,
        };
        let size = match kind {
            Kind::File => u64::try_from(stat.st_size).unwrap_or(0),
            _ => 0,
        };
        let (uid, gid) = owner(stat);
        Ok(Self {
            kind,
            mode: stat.st_mode & 0o7777,
            uid,
            gid,
            mtime: stat.st_mtime,
            size,
            xattrs: Vec::new(),
        })
    }

    pub fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }
}

/// Without privilege every file of the store is ours, and stands for root's.
fn owner(stat: &Stat) -> (u32, u32) {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    if user.is_root() {
        return (stat.st_uid, stat.st_gid);
    }
    let of = |id, own| if id == own { 0 } else { id };
    (of(stat.st_uid, user.as_raw()), of(stat.st_gid, group.as_raw()))
}

/// A tree of files. Paths are clean and relative to its root, which is `""`.
pub(super) trait Tree: fmt::Debug {
    /// What is at a path; with `follow`, what a symlink there leads to.
    fn meta(&self, path: &[u8], follow: bool) -> io::Result<Option<Meta>>;
    /// The names in a directory, sorted.
    fn names(&self, path: &[u8]) -> io::Result<Vec<Vec<u8>>>;
    /// Opens a file to read it.
    fn open(&self, path: &[u8]) -> io::Result<File>;
    /// Whether a path is to be taken for one that is not there.
    fn is_ignored(&self, _path: &[u8]) -> bool {
        false
    }
    /// Whether nothing in an ignored directory needs to be looked at.
    fn skips_ignored(&self) -> bool {
        true
    }
    /// Whether owners and attributes are part of what is copied.
    fn keeps_owners(&self) -> bool;
}

/// `parent/name`.
pub(super) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}

/// A path without what does not count: slashes at its ends, empty and `.` components,
/// `..` with what is before it. It cannot lead out of the tree.
pub(super) fn clean(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// The directory a path is in, and its name.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_and_taken_apart() {
        assert_eq!(clean(b"/a/./b//../c/"), b"a/c");
        assert_eq!(clean(b"../.."), b"");
        assert_eq!(split(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(split(b"a"), (&b""[..], &b"a"[..]));
        assert_eq!(join(b"", b"a"), b"a");
        assert_eq!(join(b"a", b"b"), b"a/b");
    }
}
