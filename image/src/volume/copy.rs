//! The image's files as the first content of a volume.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, linkat, mkdirat, mknodat, open, openat,
    readlinkat, symlinkat,
};

use crate::EntryError;
use crate::merged::{self, MergedView, Node};
use crate::unpack::metadata::{Metadata, Privilege};

/// What cannot be copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The image's layers cannot be read.
    #[error("cannot open the image's layers")]
    Layers(#[source] io::Error),
    /// A file cannot be copied.
    #[error("cannot copy `{}`", name.display())]
    File {
        /// Its name.
        name: OsString,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file cannot be given its owner, mode or attributes.
    #[error("cannot copy what belongs to `{}`", name.display())]
    Metadata {
        /// Its name.
        name: OsString,
        /// Why.
        #[source]
        source: EntryError,
    },
}

/// Copies the directory at `path` of the image into the empty directory `to`: content,
/// owners, modes, times, attributes, hard links. Copies nothing where the image has no
/// directory there.
pub(super) fn tree(view: &MergedView, path: &Path, to: &Path) -> Result<(), CopyError> {
    let name = path.as_os_str();
    let Some(Node::Directory(from)) = view.find(path).map_err(CopyError::Layers)? else {
        return Ok(());
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let to = open(to, flags, Mode::empty()).map_err(failed(name))?;
    let mut copy = Copy { privilege: Privilege::of_this_process(), links: HashMap::new() };
    copy.directory(&from, &to, name)?;
    // Whatever happens to the machine, it is all there once the volume has its name.
    rustix::fs::syncfs(&to).map_err(failed(name))
}

fn failed<E: Into<io::Error>>(name: &OsStr) -> impl FnOnce(E) -> CopyError {
    move |source| CopyError::File { name: name.to_owned(), source: source.into() }
}

struct Copy {
    privilege: Privilege,
    /// The first copy of each file with several names, by device and inode.
    links: HashMap<(u64, u64), OwnedFd>,
}

impl Copy {
    fn directory(
        &mut self,
        from: &[OwnedFd],
        to: &OwnedFd,
        name: &OsStr,
    ) -> Result<(), CopyError> {
        for (name, node) in merged::children(from).map_err(failed(name))? {
            match node {
                Node::Directory(below) => {
                    mkdirat(to, &name, Mode::RWXU).map_err(failed(&name))?;
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    let made = openat(to, &name, flags | OFlags::NOFOLLOW, Mode::empty())
                        .map_err(failed(&name))?;
                    self.directory(&below, &made, &name)?;
                }
                Node::Leaf(leaf, stat) => self.leaf(&leaf, &stat, to, &name)?,
            }
        }
        let Some(top) = from.first() else { return Ok(()) };
        self.metadata(top, name)?.apply(to, self.privilege).map_err(of_metadata(name))
    }

    fn leaf(
        &mut self,
        from: &OwnedFd,
        stat: &Stat,
        to: &OwnedFd,
        name: &OsStr,
    ) -> Result<(), CopyError> {
        let key = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1
            && let Some(first) = self.links.get(&key)
        {
            let first = format!("/proc/self/fd/{}", first.as_raw_fd());
            return linkat(CWD, first, to, name, AtFlags::SYMLINK_FOLLOW).map_err(failed(name));
        }
        let metadata = self.metadata(from, name)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        match kind {
            FileType::RegularFile => {
                let made = copy_file(from, to, name).map_err(failed(name))?;
                metadata.apply(&made, self.privilege).map_err(of_metadata(name))?;
            }
            FileType::Symlink => {
                let target = readlinkat(from, "", Vec::new()).map_err(failed(name))?;
                symlinkat(target, to, name).map_err(failed(name))?;
                metadata.apply_at(to, name, true, self.privilege).map_err(of_metadata(name))?;
            }
            _ => {
                mknodat(to, name, kind, Mode::empty(), stat.st_rdev).map_err(failed(name))?;
                metadata
                    .apply_at(to, name, false, self.privilege)
                    .map_err(of_metadata(name))?;
            }
        }
        if stat.st_nlink > 1 {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let made = openat(to, name, flags, Mode::empty()).map_err(failed(name))?;
            self.links.insert(key, made);
        }
        Ok(())
    }

    fn metadata(&self, of: impl AsFd, name: &OsStr) -> Result<Metadata, CopyError> {
        Metadata::of_file(of).map_err(failed(name))
    }
}

fn of_metadata(name: &OsStr) -> impl FnOnce(EntryError) -> CopyError {
    move |source| CopyError::Metadata { name: name.to_owned(), source }
}

fn copy_file(from: &OwnedFd, to: &OwnedFd, name: &OsStr) -> io::Result<File> {
    // The kernel's way of opening what an `O_PATH` descriptor refers to.
    let mut from = File::open(format!("/proc/self/fd/{}", from.as_raw_fd()))?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut made = File::from(openat(to, name, flags, Mode::RUSR | Mode::WUSR)?);
    io::copy(&mut from, &mut made)?;
    Ok(made)
}
