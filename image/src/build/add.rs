//! What only `ADD` does: unpacking archives and fetching files from the network.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use tar::EntryType;

use super::archive::{Content, Entries, Entry};
use super::counting::Counting;
use super::files::{Kind, Meta, clean};
use crate::compression::{Compression, UnsupportedCompression};
use crate::digest::Hasher;
use crate::tarball::{TarError, TarReader, lossy};
use crate::unpack::{LimitError, UnpackLimits};
use crate::{Digest, overlay};

/// Something that cannot be added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The archive is damaged.
    #[error("`{path}` cannot be unpacked")]
    Archive {
        /// Which.
        path: String,
        /// Where it is damaged.
        #[source]
        source: TarError,
    },
    /// Its compression is not supported.
    #[error("`{path}` cannot be unpacked")]
    Compression {
        /// Which.
        path: String,
        /// Which compression.
        #[source]
        source: UnsupportedCompression,
    },
    /// There is more in it than there should be.
    #[error("`{path}` is too large: {limit}")]
    Limit {
        /// Which.
        path: String,
        /// Which limit was reached.
        limit: LimitError,
    },
    /// It cannot be read, or its content cannot be kept.
    #[error("cannot unpack `{path}`")]
    Io {
        /// Which.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It cannot be fetched.
    #[error("cannot fetch {url}")]
    Fetch {
        /// Which.
        url: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The address ends in no name for the file.
    #[error("{0} ends in no file name: copy it to a name of your own")]
    NoName(String),
    /// What came is not what was asked for.
    #[error("{url} has the digest {found}, not {expected}")]
    Checksum {
        /// The address.
        url: String,
        /// What it should have.
        expected: Digest,
        /// What it has.
        found: Digest,
    },
}

impl AddError {
    fn io(path: &[u8]) -> impl FnOnce(io::Error) -> Self {
        let path = lossy(path);
        move |source| Self::Io { path, source }
    }
}

/// The entries of an archive; `None` when the file is none. What it decompresses to is
/// kept in a file without a name in `scratch`.
pub(super) fn unpack(
    mut file: File,
    path: &[u8],
    scratch: &Path,
    limits: UnpackLimits,
) -> Result<Option<Entries>, AddError> {
    let compression = Compression::detect_file(&mut file).map_err(AddError::io(path))?;
    let compression =
        compression.map_err(|source| AddError::Compression { path: lossy(path), source })?;
    let mut again = file.try_clone().map_err(AddError::io(path))?;
    let is = compression.decode(file).is_ok_and(|mut decoded| is_archive(&mut decoded));
    again.rewind().map_err(AddError::io(path))?;
    if !is {
        return Ok(None);
    }
    let plain = match compression {
        Compression::None => again,
        _ => decompress(compression, again, path, scratch, limits)?,
    };
    entries(plain, path, limits).map(Some)
}

fn decompress(
    compression: Compression,
    file: File,
    path: &[u8],
    scratch: &Path,
    limits: UnpackLimits,
) -> Result<File, AddError> {
    let mut plain = tempfile::tempfile_in(scratch).map_err(AddError::io(path))?;
    let decoded = compression.decode(file).map_err(AddError::io(path))?;
    let most = limits.max_bytes;
    let copied = io::copy(&mut decoded.take(most + 1), &mut plain);
    if copied.map_err(AddError::io(path))? > most {
        return Err(AddError::Limit { path: lossy(path), limit: LimitError::Bytes(most) });
    }
    plain.rewind().map_err(AddError::io(path))?;
    Ok(plain)
}

/// Whether the first block is the header of an archive.
fn is_archive(from: &mut dyn Read) -> bool {
    let mut block = [0; 512];
    from.read_exact(&mut block).is_ok()
        && matches!(TarReader::new(&block[..]).next_entry(), Ok(Some(_)))
}

fn entries(file: File, path: &[u8], limits: UnpackLimits) -> Result<Entries, AddError> {
    let broken = |source| AddError::Archive { path: lossy(path), source };
    let content = Rc::new(file.try_clone().map_err(AddError::io(path))?);
    let mut reader = TarReader::new(Counting::new(file));
    let mut found = Entries::new();
    let mut links = BTreeMap::new();
    let mut count = 0;
    while let Some(entry) = reader.next_entry().map_err(broken)? {
        count += 1;
        if count > limits.max_entries {
            let limit = LimitError::Entries(limits.max_entries);
            return Err(AddError::Limit { path: lossy(path), limit });
        }
        let name = clean(&entry.path);
        // The directory itself is there already.
        if name.is_empty() {
            continue;
        }
        let kind = match entry.kind {
            EntryType::Link => {
                links.insert(name, clean(&entry.link));
                continue;
            }
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink(entry.link.clone()),
            EntryType::Char => Kind::Character(entry.device.0, entry.device.1),
            EntryType::Block => Kind::Block(entry.device.0, entry.device.1),
            EntryType::Fifo => Kind::Fifo,
            _ => Kind::File,
        };
        links.remove(&name);
        let is_file = kind == Kind::File;
        let id = |id: u64| u32::try_from(id).unwrap_or(u32::MAX - 1);
        let mut xattrs = entry.xattrs.clone();
        xattrs.retain(|(name, _)| !overlay::is_private_xattr(name));
        xattrs.sort();
        let meta = Meta {
            kind,
            mode: entry.mode,
            uid: id(entry.uid),
            gid: id(entry.gid),
            mtime: entry.mtime.0,
            size: if is_file { entry.size } else { 0 },
            xattrs,
        };
        let content = match is_file {
            true => Content::Range(Rc::clone(&content), reader.inner().position()),
            false => Content::None,
        };
        found.insert(name, Entry { meta, content });
    }
    link(&mut found, links);
    Ok(found)
}

/// Gives files their further names. As the names stand in another order than in the
/// archive, each is a link to the first of them all.
fn link(found: &mut Entries, links: BTreeMap<Vec<u8>, Vec<u8>>) {
    let mut groups: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    for (name, target) in links {
        groups.entry(target).or_default().push(name);
    }
    for (target, mut names) in groups {
        super::changes::relink(found, target, &mut names);
    }
}

/// How long a server may be silent.
const SILENCE: Duration = Duration::from_secs(60);

/// A file that was fetched.
#[derive(Debug)]
pub(super) struct Fetched {
    pub name: String,
    pub file: File,
    pub size: u64,
    pub digest: Digest,
    /// When the server says that it changed.
    pub mtime: Option<i64>,
}

/// Fetches a file into one without a name in `scratch`.
pub(super) fn fetch(
    url: &str,
    needs_name: bool,
    scratch: &Path,
    limits: UnpackLimits,
) -> Result<Fetched, AddError> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once("://").map_or("", |(_, rest)| rest);
    let name = path.split_once('/').map_or("", |(_, path)| path);
    let name = name.rsplit('/').next().unwrap_or_default();
    if needs_name && matches!(name, "" | "." | "..") {
        return Err(AddError::NoName(url.to_owned()));
    }
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| AddError::Fetch {
        url: url.to_owned(),
        source,
    };
    let mut file = tempfile::tempfile_in(scratch).map_err(AddError::io(url.as_bytes()))?;
    // Another part of the program may have chosen already: as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| failed(e.into()))?;
    let (size, digest, mtime) =
        runtime.block_on(download(url, &mut file, limits.max_bytes)).map_err(failed)?;
    Ok(Fetched { name: name.to_owned(), file, size, digest, mtime })
}

type Downloaded = Result<(u64, Digest, Option<i64>), Box<dyn std::error::Error + Send + Sync>>;

async fn download(url: &str, file: &mut File, most: u64) -> Downloaded {
    let client = reqwest::Client::builder().read_timeout(SILENCE).build()?;
    let mut response = client.get(url).send().await?.error_for_status()?;
    let header = response.headers().get("last-modified");
    let mtime = header.and_then(|value| super::time::parse_http(value.to_str().ok()?));
    let mut hasher = Hasher::default();
    let mut size = 0;
    while let Some(piece) = response.chunk().await? {
        size += piece.len() as u64;
        if size > most {
            return Err(LimitError::Bytes(most).into());
        }
        hasher.update(&piece);
        file.write_all(&piece)?;
    }
    Ok((size, hasher.finish(), mtime))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_told_from_other_files() {
        let scratch = tempfile::tempdir().unwrap();
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o640);
        header.set_uid(7);
        builder.append_data(&mut header, "d/file", &b"abc"[..]).unwrap();
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(EntryType::Link);
        link.set_size(0);
        builder.append_link(&mut link, "a", "d/file").unwrap();
        let bytes = builder.into_inner().unwrap();
        let zipped = zstd::encode_all(&bytes[..], 1).unwrap();
        for bytes in [bytes, zipped] {
            let mut file = tempfile::tempfile_in(scratch.path()).unwrap();
            file.write_all(&bytes).unwrap();
            file.rewind().unwrap();
            let limits = UnpackLimits::default();
            let found = unpack(file, b"x", scratch.path(), limits).unwrap().unwrap();
            // The first name in order has the content.
            assert_eq!((found[&b"a"[..]].meta.mode, found[&b"a"[..]].meta.uid), (0o640, 7));
            let mut content = Vec::new();
            found[&b"a"[..]].content.copy_to(3, &mut content).unwrap();
            assert_eq!(content, b"abc");
            assert!(matches!(&found[&b"d/file"[..]].content, Content::Link(to) if to == b"a"));
        }
        let mut text = tempfile::tempfile_in(scratch.path()).unwrap();
        text.write_all(&[b'x'; 2000]).unwrap();
        text.rewind().unwrap();
        let none = unpack(text, b"x", scratch.path(), UnpackLimits::default()).unwrap();
        assert!(none.is_none());
    }
}
