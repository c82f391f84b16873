//! The files an image comes in: a directory, or an archive of one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::image::Descriptor;
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use rustix::io::Errno;
use tar::EntryType;

use super::layout::{is_index, is_manifest};
use super::{ImportError, open_archive};
use crate::Digest;
use crate::file::{FileError, read_small};
use crate::progress::{Progress, Stage};
use crate::registry::Download;
use crate::store::Transaction;
use crate::tarball::{TarError, TarReader};
use crate::unpack::{LimitError, UnpackLimits};

/// Longest manifest, index or configuration taken; registries allow 4 MiB.
pub(crate) const DOCUMENT_LIMIT: u64 = 4 * 1024 * 1024;

/// Symlinks followed from one name in an archive.
const MAX_LINKS: usize = 8;

/// Where the parts of an image are read from.
#[derive(Debug)]
pub(super) enum Source<'r> {
    /// A directory: parts are copied when asked for.
    Directory { fd: OwnedFd, path: PathBuf },
    /// An archive, which can only be read in order: all its files have been
    /// copied already. What no image turns out to need is not kept.
    Archive(BTreeMap<String, Member>),
    /// A registry: parts are asked for by digest.
    Registry(Download<'r>),
}

/// A file of an archive.
#[derive(Debug)]
pub(super) enum Member {
    /// Its content, under its true digest.
    File(Digest),
    /// Another name: `docker save` writes a layer shared by images once.
    Symlink(String),
}

impl Source<'_> {
    pub fn open(
        path: &Path,
        transaction: &mut Transaction<'_>,
        limits: &UnpackLimits,
        progress: &dyn Progress,
    ) -> Result<Self, ImportError> {
        if path.is_dir() {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = open(path, flags, Mode::empty()).map_err(FileError::on("open", path))?;
            return Ok(Self::Directory { fd, path: path.to_owned() });
        }
        let size = std::fs::metadata(path).map_err(FileError::on("open", path))?.len();
        progress.begin(Stage::Copy, Some(size));
        read_archive(path, transaction, limits, progress).map(Self::Archive)
    }

    /// Copies a file into the store and gives its true digest and size; `None`
    /// when there is no such file.
    pub fn stage(
        &mut self,
        name: &str,
        transaction: &mut Transaction<'_>,
        progress: &dyn Progress,
    ) -> Result<Option<(Digest, u64)>, ImportError> {
        match self {
            Self::Archive(members) => Ok(look_up(members, name)
                .and_then(|digest| Some((digest, transaction.blob_size(digest)?)))),
            Self::Directory { fd, path } => {
                let Some(mut file) = open_beneath(fd, path, name)? else { return Ok(None) };
                let len =
                    file.metadata().map_err(FileError::on("examine", &path.join(name)))?;
                progress.begin(Stage::Copy, Some(len.len()));
                Ok(Some(transaction.stage(&mut file, progress)?))
            }
            // Its parts have no names.
            Self::Registry(_) => Ok(None),
        }
    }

    /// Copies a blob into the store and gives its true digest and size; `None` when
    /// there is no such blob.
    pub fn blob(
        &mut self,
        digest: Digest,
        descriptor: &Descriptor,
        transaction: &mut Transaction<'_>,
        progress: &dyn Progress,
    ) -> Result<Option<(Digest, u64)>, ImportError> {
        let Self::Registry(download) = self else {
            return self.stage(&digest.path_in_layout(), transaction, progress);
        };
        let media_type = descriptor.media_type();
        if is_manifest(media_type) || is_index(media_type) {
            let bytes = download.manifest(digest)?;
            return Ok(Some((transaction.stage_bytes(&bytes)?, bytes.len() as u64)));
        }
        if descriptor.size() > DOCUMENT_LIMIT {
            return Err(ImportError::DocumentTooLarge { digest, size: descriptor.size() });
        }
        download.begin(digest, descriptor.size(), transaction)?;
        download.finish(transaction)?;
        Ok(transaction.blob_size(digest).map(|size| (digest, size)))
    }

    /// Reads a file that should be small.
    pub fn document(
        &mut self,
        name: &str,
        transaction: &mut Transaction<'_>,
    ) -> Result<Option<Vec<u8>>, ImportError> {
        let staged = self.stage(name, transaction, &crate::NoProgress)?;
        let Some((digest, _)) = staged else { return Ok(None) };
        Ok(Some(read_small(&transaction.blob_path(digest), DOCUMENT_LIMIT)?))
    }
}

/// Opens a file of a directory: one that is in it, whatever its symlinks say.
fn open_beneath(fd: &OwnedFd, path: &Path, name: &str) -> Result<Option<File>, FileError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let failed = |e: io::Error| FileError::on("open", &path.join(name))(e);
    let file = match openat2(fd, name, flags, Mode::empty(), beneath) {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(failed(e.into())),
    };
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    }
    Ok(Some(file))
}

fn look_up(members: &BTreeMap<String, Member>, name: &str) -> Option<Digest> {
    let mut name = clean(name)?;
    for _ in 0..MAX_LINKS {
        match members.get(&name)? {
            Member::File(digest) => return Some(*digest),
            Member::Symlink(target) => {
                let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
                name = clean(&format!("{parent}/{target}"))?;
            }
        }
    }
    None
}

/// A name without `.` and `..`; `None` if it climbs out.
fn clean(name: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn read_archive(
    path: &Path,
    transaction: &mut Transaction<'_>,
    limits: &UnpackLimits,
    progress: &dyn Progress,
) -> Result<BTreeMap<String, Member>, ImportError> {
    let unreadable = |source| ImportError::Archive { path: path.to_owned(), source };
    let too_large = |limit| ImportError::Limit { path: path.to_owned(), limit };
    let mut archive = TarReader::new(BufReader::with_capacity(256 * 1024, open_archive(path)?));
    let mut members = BTreeMap::new();
    let mut bytes: u64 = 0;
    while let Some(entry) = archive.next_entry().map_err(unreadable)? {
        bytes = bytes.saturating_add(entry.size);
        if bytes > limits.max_bytes {
            return Err(too_large(LimitError::Bytes(limits.max_bytes)));
        }
        if members.len() as u64 >= limits.max_entries {
            return Err(too_large(LimitError::Entries(limits.max_entries)));
        }
        let Some(name) = std::str::from_utf8(&entry.path).ok().and_then(clean) else {
            continue;
        };
        match entry.kind {
            EntryType::Symlink => {
                let target = String::from_utf8_lossy(&entry.link).into_owned();
                members.insert(name, Member::Symlink(target));
            }
            // Names in an archive are relative to its root.
            EntryType::Link => {
                let target = clean(&String::from_utf8_lossy(&entry.link));
                if let Some(digest) = target.and_then(|target| look_up(&members, &target)) {
                    members.insert(name, Member::File(digest));
                }
            }
            _ if entry.kind.is_file() => {
                let (digest, _) =
                    transaction.stage(&mut archive, progress).map_err(|e| {
                        match e.source.kind() {
                            io::ErrorKind::UnexpectedEof => unreadable(TarError::Truncated),
                            _ => e.into(),
                        }
                    })?;
                members.insert(name, Member::File(digest));
            }
            _ => {}
        }
    }
    Ok(members)
}
