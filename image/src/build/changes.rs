//! What a command has changed in the root filesystem, as a layer.
//!
//! Both walls keep it as overlayfs does, in an upper directory: a container's is on
//! this machine, a microVM's comes as an archive of one. Deletions are told from there
//! (kernel, Documentation/filesystems/overlayfs.rst) and written as image-spec has them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{
    AtFlags, Dir, Mode, OFlags, ResolveFlags, open, openat, openat2, readlinkat, statat,
};
use tar::EntryType;

use super::archive::{Content, Entries, Entry, OPAQUE, WHITEOUT};
use super::counting::Counting;
use super::files::{Kind, Meta, Tree, join, split};
use crate::merged::MergedView;
use crate::overlay;
use crate::tarball::{self, TarError, TarReader};

/// What a sandbox leaves of its writable layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// The upper directory.
    Directory(PathBuf),
    /// An archive of one.
    Archive(PathBuf),
}

/// Changes that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ChangesError {
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    File {
        /// Which, relative to the root of the image.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The archive is damaged.
    #[error("the archive of it is damaged")]
    Archive(#[from] TarError),
}

impl ChangesError {
    fn of(path: &[u8]) -> impl FnOnce(io::Error) -> Self {
        let path = tarball::lossy(path);
        move |source| Self::File { path, source }
    }
}

/// The entries of the layer. `stubs` are what a sandbox may have made to mount on;
/// `below` is what was there before.
pub(super) fn entries(
    changes: &Changes,
    below: &MergedView,
    stubs: &BTreeSet<Vec<u8>>,
) -> Result<Entries, ChangesError> {
    let mut entries = match changes {
        Changes::Directory(path) => of_directory(path)?,
        Changes::Archive(path) => of_archive(path)?,
    };
    // The root is there anyway, and its time says nothing.
    entries.remove(&b""[..]);
    drop_stubs(&mut entries, below, stubs).map_err(ChangesError::of(b""))?;
    Ok(entries)
}

/// Takes out what was only made to be mounted on: it is new and has nothing in it.
fn drop_stubs(
    entries: &mut Entries,
    below: &MergedView,
    stubs: &BTreeSet<Vec<u8>>,
) -> io::Result<()> {
    // Inner ones first, so that what they are in is empty then.
    for stub in stubs.iter().rev() {
        let empty = match entries.get(stub) {
            Some(entry) if entry.meta.is_directory() => {
                let inside = join(stub, b"");
                !entries
                    .range(inside.clone()..)
                    .next()
                    .is_some_and(|(path, _)| path.starts_with(&inside))
            }
            Some(entry) => entry.meta.kind == Kind::File && entry.meta.size == 0,
            None => false,
        };
        if empty && below.node(stub, false)?.is_none() {
            entries.remove(stub);
        }
    }
    Ok(())
}

/// An upper directory as a tree to read files from.
#[derive(Debug)]
struct Upper(OwnedFd);

impl Tree for Upper {
    fn meta(&self, _path: &[u8], _follow: bool) -> io::Result<Option<Meta>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn names(&self, _path: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn open(&self, path: &[u8]) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let confined = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let path = OsStr::from_bytes(path);
        Ok(openat2(&self.0, path, flags, Mode::empty(), confined)?.into())
    }

    fn keeps_owners(&self) -> bool {
        true
    }
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn of_directory(path: &Path) -> Result<Entries, ChangesError> {
    let root = open(path, DIRECTORY, Mode::empty());
    let root = root.map_err(|e| ChangesError::of(path.as_os_str().as_bytes())(e.into()))?;
    let again = openat(&root, ".", DIRECTORY, Mode::empty());
    let again = again.map_err(|e| ChangesError::of(b"")(e.into()))?;
    let mut walk =
        Walk { tree: Rc::new(Upper(again)), entries: Entries::new(), links: BTreeMap::new() };
    walk.directory(&root, b"")?;
    let Walk { mut entries, links, .. } = walk;
    for mut names in links.into_values() {
        let first = names.swap_remove(0);
        relink(&mut entries, first, &mut names);
    }
    Ok(entries)
}

struct Walk {
    tree: Rc<dyn Tree>,
    entries: Entries,
    /// The names of files that have several.
    links: BTreeMap<(u64, u64), Vec<Vec<u8>>>,
}

impl Walk {
    fn directory(&mut self, dir: &OwnedFd, path: &[u8]) -> Result<(), ChangesError> {
        let names = names_in(dir).map_err(ChangesError::of(path))?;
        for name in names {
            let inner = join(path, &name);
            self.one(dir, &name, &inner).map_err(|error| match error {
                Ok(error) => error,
                Err(io) => ChangesError::of(&inner)(io),
            })?;
        }
        Ok(())
    }

    fn one(
        &mut self,
        dir: &OwnedFd,
        name: &[u8],
        path: &[u8],
    ) -> Result<(), Result<ChangesError, io::Error>> {
        let os = OsStr::from_bytes(name);
        let stat = statat(dir, os, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| Err(e.into()))?;
        if overlay::is_whiteout(&stat) {
            self.entries.insert(whiteout(path), Entry::mark());
            return Ok(());
        }
        let target = || Ok(readlinkat(dir, os, Vec::new())?.into_bytes());
        let mut meta = Meta::of(&stat, target).map_err(Err)?;
        if meta.is_directory() {
            let inner = openat(dir, os, DIRECTORY, Mode::empty()).map_err(|e| Err(e.into()))?;
            meta.xattrs = xattrs(&of_fd(&inner, b"")).map_err(Err)?;
            if overlay::is_opaque(&inner).map_err(Err)? {
                self.entries.insert(join(path, OPAQUE), Entry::mark());
            }
            self.entries.insert(path.to_vec(), Entry::empty(meta));
            return self.directory(&inner, path).map_err(Ok);
        }
        if !matches!(meta.kind, Kind::Symlink(_)) {
            meta.xattrs = xattrs(&of_fd(dir, name)).map_err(Err)?;
        }
        let content = match &meta.kind {
            Kind::File => Content::Tree(Rc::clone(&self.tree), path.to_vec()),
            _ => Content::None,
        };
        if stat.st_nlink > 1 {
            self.links.entry((stat.st_dev, stat.st_ino)).or_default().push(path.to_vec());
        }
        self.entries.insert(path.to_vec(), Entry { meta, content });
        Ok(())
    }
}

fn xattrs(path: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut found = crate::unpack::read_xattrs(path)?;
    found.sort();
    Ok(found)
}

/// A path to `name` in an open directory.
fn of_fd(dir: &OwnedFd, name: &[u8]) -> Vec<u8> {
    use std::os::fd::AsRawFd;
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

fn names_in(dir: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if !matches!(&name[..], b"." | b"..") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Where a layer says that a path is deleted.
fn whiteout(path: &[u8]) -> Vec<u8> {
    let (parent, name) = split(path);
    join(parent, &[WHITEOUT, name].concat())
}

/// Opaque directories in an archive of an upper directory.
const OPAQUE_XATTR: &[u8] = b"trusted.overlay.opaque";

fn of_archive(path: &Path) -> Result<Entries, ChangesError> {
    let whole = || ChangesError::of(path.as_os_str().as_bytes());
    let file = File::open(path).map_err(whole())?;
    let again = Rc::new(file.try_clone().map_err(whole())?);
    let mut entries = Entries::new();
    // Names of the same file, by the first of them in the archive.
    let mut links: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    let mut reader = TarReader::new(Counting::new(file));
    while let Some(entry) = reader.next_entry()? {
        let path = super::files::clean(&entry.path);
        let id = |id: u64| u32::try_from(id).unwrap_or(u32::MAX);
        let kind = match entry.kind {
            EntryType::Link => {
                links.entry(super::files::clean(&entry.link)).or_default().push(path);
                continue;
            }
            EntryType::Char if entry.device == (0, 0) => {
                entries.insert(whiteout(&path), Entry::mark());
                continue;
            }
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink(entry.link.clone()),
            EntryType::Char => Kind::Character(entry.device.0, entry.device.1),
            EntryType::Block => Kind::Block(entry.device.0, entry.device.1),
            EntryType::Fifo => Kind::Fifo,
            _ => Kind::File,
        };
        let mut xattrs = entry.xattrs.clone();
        if xattrs.iter().any(|(name, value)| name == OPAQUE_XATTR && value == b"y") {
            entries.insert(join(&path, OPAQUE), Entry::mark());
        }
        xattrs.retain(|(name, _)| !overlay::is_private_xattr(name));
        xattrs.sort();
        let size = if kind == Kind::File { entry.size } else { 0 };
        let content = match kind {
            Kind::File => Content::Range(Rc::clone(&again), reader.inner().position()),
            _ => Content::None,
        };
        let meta = Meta {
            kind,
            mode: entry.mode,
            uid: id(entry.uid),
            gid: id(entry.gid),
            mtime: entry.mtime.0,
            size,
            xattrs,
        };
        entries.insert(path, Entry { meta, content });
    }
    for (first, mut names) in links {
        relink(&mut entries, first, &mut names);
    }
    Ok(entries)
}

/// Makes the first name in order the file, and the others links to it.
pub(super) fn relink(entries: &mut Entries, first: Vec<u8>, names: &mut Vec<Vec<u8>>) {
    let Some(file) = entries.remove(&first) else { return };
    names.push(first);
    names.sort();
    let meta = file.meta.clone();
    let head = names[0].clone();
    for name in names.drain(1..) {
        let content = Content::Link(head.clone());
        entries.insert(name, Entry { meta: meta.clone(), content });
    }
    entries.insert(head, file);
}
