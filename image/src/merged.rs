//! Looking things up in a stack of layers without mounting it.
//!
//! Follows the rules of overlayfs: the topmost layer that has a name decides,
//! directories merge down to the first opaque one, whiteouts hide. Every
//! component is opened by itself and symlinks are interpreted here, with the
//! image's root as `/`, so that nothing outside the layers is ever reached.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, open, openat, readlinkat, statat,
};
use rustix::io::Errno;

use crate::overlay;

/// Symlinks followed in one look-up; the kernel's own limit (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;

/// A stack of layers, topmost first.
#[derive(Debug)]
pub(crate) struct MergedView {
    root: Directory,
}

/// The directories of the layers that make up one merged directory, topmost
/// first.
pub(crate) type Directory = Rc<Vec<OwnedFd>>;

/// Something found.
#[derive(Debug)]
pub(crate) enum Node {
    /// A directory, with the layers' directories that make it up.
    Directory(Directory),
    /// Anything else: opened with `O_PATH`.
    Leaf(OwnedFd, Stat),
}

impl MergedView {
    pub fn open(layers: &[PathBuf]) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open_one = |dir: &PathBuf| open(dir, flags, Mode::empty());
        let root = layers.iter().map(open_one).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { root: Rc::new(root) })
    }

    /// The directory at `path`, not following symlinks; `None` when it does not
    /// exist or is something else.
    pub fn directory(&self, path: &[u8]) -> io::Result<Option<Directory>> {
        Ok(match self.walk(path, false)? {
            Some(Node::Directory(directory)) => Some(directory),
            _ => None,
        })
    }

    /// Reads the regular file at `path`, following symlinks; `None` when there
    /// is none. One longer than `limit` is an error of kind `FileTooLarge`.
    pub fn read(&self, path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(Node::Leaf(fd, stat)) = self.walk(path.as_os_str().as_bytes(), true)? else {
            return Ok(None);
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        // The kernel's way of opening what an `O_PATH` descriptor refers to.
        let file = File::open(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(Some(bytes))
    }

    /// What is at `path`, following symlinks; `None` when nothing is.
    pub fn find(&self, path: &Path) -> io::Result<Option<Node>> {
        self.walk(path.as_os_str().as_bytes(), true)
    }

    /// What is at `path`; with `follow`, what a symlink there leads to.
    pub fn node(&self, path: &[u8], follow: bool) -> io::Result<Option<Node>> {
        self.walk(path, follow)
    }

    /// The names in the directory at `path`, symlinks followed, sorted.
    pub fn names(&self, path: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let Some(Node::Directory(directory)) = self.walk(path, true)? else {
            return Err(Errno::NOTDIR.into());
        };
        // What a layer says of a name goes before what those below it say.
        let mut names = BTreeMap::new();
        for layer in directory.iter() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = openat(layer, ".", flags, Mode::empty())?;
            for entry in Dir::read_from(&opened)? {
                let entry = entry?;
                let name = entry.file_name().to_bytes();
                if matches!(name, b"." | b"..") || names.contains_key(name) {
                    continue;
                }
                let stat = statat(layer, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
                names.insert(name.to_vec(), !overlay::is_whiteout(&stat));
            }
        }
        Ok(names.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect())
    }

    /// Where `path` really is: no directory in it is a symlink. What does not exist is
    /// left as it is written.
    pub fn real_path(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let mut todo: VecDeque<Vec<u8>> = components(path).collect();
        let mut real: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name == b".." {
                real.pop();
                continue;
            }
            real.push(name);
            let Some(Node::Leaf(fd, stat)) = self.walk(&real.join(&b'/'), false)? else {
                continue;
            };
            if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::LOOP.into());
            }
            let target = readlinkat(&fd, "", Vec::new())?.into_bytes();
            real.pop();
            if target.starts_with(b"/") {
                real.clear();
            }
            for component in components(&target).collect::<Vec<_>>().into_iter().rev() {
                todo.push_front(component);
            }
        }
        Ok(real.join(&b'/'))
    }

    fn walk(&self, path: &[u8], follow: bool) -> io::Result<Option<Node>> {
        let mut trail = vec![Rc::clone(&self.root)];
        let mut todo: VecDeque<Vec<u8>> = components(path).collect();
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name == b".." {
                trail.truncate(trail.len().saturating_sub(1).max(1));
                continue;
            }
            let here = trail.last().unwrap_or(&self.root);
            match child(here, &name)? {
                None => return Ok(None),
                Some(Node::Directory(directory)) => trail.push(directory),
                Some(Node::Leaf(fd, stat)) => {
                    let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
                    if is_link && follow {
                        links += 1;
                        if links > MAX_LINKS {
                            return Err(Errno::LOOP.into());
                        }
                        let target = readlinkat(&fd, "", Vec::new())?.into_bytes();
                        if target.starts_with(b"/") {
                            trail.truncate(1);
                        }
                        for component in
                            components(&target).collect::<Vec<_>>().into_iter().rev()
                        {
                            todo.push_front(component);
                        }
                    } else if todo.is_empty() {
                        return Ok(Some(Node::Leaf(fd, stat)));
                    } else {
                        return Ok(None);
                    }
                }
            }
        }
        Ok(trail.pop().map(Node::Directory))
    }
}

fn components(path: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    path.split(|b| *b == b'/').filter(|c| !matches!(*c, b"" | b".")).map(<[u8]>::to_vec)
}

/// What a merged directory has, by name.
pub(crate) fn children(directory: &[OwnedFd]) -> io::Result<Vec<(OsString, Node)>> {
    let mut names = BTreeSet::new();
    for layer in directory {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let readable = openat(layer, ".", flags, Mode::empty())?;
        for entry in Dir::new(readable)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if !matches!(&name[..], b"." | b"..") {
                names.insert(OsString::from_vec(name));
            }
        }
    }
    let mut found = Vec::new();
    for name in names {
        if let Some(node) = child(directory, name.as_bytes())? {
            found.push((name, node));
        }
    }
    Ok(found)
}

/// What a merged directory has under a name.
fn child(directory: &[OwnedFd], name: &[u8]) -> io::Result<Option<Node>> {
    let name = OsStr::from_bytes(name);
    let mut merged = Vec::new();
    for layer in directory {
        let stat = match statat(layer, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(e) => return Err(e.into()),
        };
        if overlay::is_whiteout(&stat) {
            break;
        }
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if !is_directory && !merged.is_empty() {
            // A directory further up hides it and everything below.
            break;
        }
        let fd = openat(
            layer,
            name,
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        if !is_directory {
            return Ok(Some(Node::Leaf(fd, stat)));
        }
        let opaque = overlay::is_opaque(&fd)?;
        merged.push(fd);
        if opaque {
            break;
        }
    }
    Ok((!merged.is_empty()).then(|| Node::Directory(Rc::new(merged))))
}
