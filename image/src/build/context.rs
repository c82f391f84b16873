//! The directory a build is made from. It is read without ever leaving it: whatever
//! symlinks are in it, every path is opened beneath it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Dir, Mode, OFlags, ResolveFlags, fstat, open, openat2, readlinkat};
use rustix::io::Errno;

use super::files::{Meta, Tree};
use super::ignore::Ignore;

/// Longest Dockerfile or `.dockerignore` read.
const TEXT_LIMIT: u64 = 4 << 20;

/// A context.
#[derive(Debug)]
pub(super) struct Context {
    root: OwnedFd,
    path: PathBuf,
    ignore: Ignore,
}

impl Context {
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = open(path, flags, Mode::empty())?;
        Ok(Self { root, path: path.to_owned(), ignore: Ignore::default() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn set_ignore(&mut self, ignore: Ignore) {
        self.ignore = ignore;
    }

    /// Reads a text file of the context; `None` when there is none.
    pub fn read_text(&self, path: &[u8]) -> io::Result<Option<String>> {
        let file = match self.open_beneath(path, OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        read_text(&file).map(Some)
    }

    fn open_beneath(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let confined = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        openat2(
            &self.root,
            OsStr::from_bytes(path),
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            confined,
        )
    }
}

/// Reads a text that a person wrote.
pub(super) fn read_text(file: &File) -> io::Result<String> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
    }
    let mut text = String::new();
    file.take(TEXT_LIMIT + 1).read_to_string(&mut text)?;
    if text.len() as u64 > TEXT_LIMIT {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(text)
}

impl Tree for Context {
    fn meta(&self, path: &[u8], follow: bool) -> io::Result<Option<Meta>> {
        let no_follow = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        match self.open_beneath(path, OFlags::PATH | no_follow) {
            Ok(fd) => {
                let target = || Ok(readlinkat(&fd, "", Vec::new())?.into_bytes());
                Meta::of(&fstat(&fd)?, target).map(Some)
            }
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(Errno::XDEV) => Err(outside()),
            Err(e) => Err(e.into()),
        }
    }

    fn names(&self, path: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let fd = self.open_beneath(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&fd)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if !matches!(&name[..], b"." | b"..") {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn open(&self, path: &[u8]) -> io::Result<File> {
        // A pipe in the place of a file must not be waited for.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        self.open_beneath(path, flags).map(File::from).map_err(|e| match e {
            Errno::XDEV => outside(),
            e => e.into(),
        })
    }

    fn is_ignored(&self, path: &[u8]) -> bool {
        self.ignore.is_ignored(&String::from_utf8_lossy(path))
    }

    fn skips_ignored(&self) -> bool {
        !self.ignore.has_exceptions()
    }

    fn keeps_owners(&self) -> bool {
        false
    }
}

fn outside() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "a symlink leads out of the build context")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_outside_is_reached() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("context");
        std::fs::create_dir_all(inside.join("sub")).unwrap();
        std::fs::write(dir.path().join("secret"), "no").unwrap();
        std::fs::write(inside.join("sub/file"), "yes").unwrap();
        symlink("../secret", inside.join("out")).unwrap();
        symlink("/etc/passwd", inside.join("absolute")).unwrap();
        symlink("..", inside.join("up")).unwrap();
        symlink("sub/file", inside.join("link")).unwrap();
        let context = Context::open(&inside).unwrap();
        for path in [&b"out"[..], b"absolute", b"up/secret", b"../secret"] {
            assert!(context.open(path).is_err(), "{path:?}");
            assert!(!matches!(context.meta(path, true), Ok(Some(_))), "{path:?}");
        }
        assert_eq!(context.read_text(b"link").unwrap().as_deref(), Some("yes"));
        assert_eq!(context.read_text(b"none").unwrap(), None);
        let names = context.names(b"").unwrap();
        assert_eq!(names.len(), 5);
    }
}
