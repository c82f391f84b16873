//! Recognising a file without reading it.

use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::unistd::Whence;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::PAGE;

/// How much is read at a time, bytes.
const PIECE: usize = 256 * PAGE;

/// A file as it was: by what the filesystem said about it, and by its content for
/// when that has changed although the content may not have (a copy, another disk).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownFile {
    /// Where it was.
    pub path: PathBuf,
    identity: Identity,
    /// SHA-256 of its pages that are not zero, each behind its number.
    digest: [u8; 32],
}

/// What the filesystem says about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    device: u64,
    inode: u64,
    len: u64,
    modified_s: i64,
    modified_ns: i64,
}

impl Identity {
    /// Of the file at `path`.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::from_metadata(&std::fs::metadata(path)?))
    }

    fn from_metadata(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.len(),
            modified_s: metadata.mtime(),
            modified_ns: metadata.mtime_nsec(),
        }
    }
}

impl KnownFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn of(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let identity = Identity::from_metadata(&file.metadata()?);
        Ok(Self { path: path.to_owned(), identity, digest: digest(&file, identity.len)? })
    }

    /// Whether the open `file` has the same content.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn is(&self, file: &File) -> io::Result<bool> {
        let identity = Identity::from_metadata(&file.metadata()?);
        Ok(identity == self.identity || self.has_content_of(file)?)
    }

    /// Whether the content of `file` is the same, byte by byte.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn has_content_of(&self, file: &File) -> io::Result<bool> {
        let len = file.metadata()?.len();
        Ok(len == self.identity.len && digest(file, len)? == self.digest)
    }

    /// Its length, bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.identity.len
    }

    /// Whether it has nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its content's digest in hexadecimal.
    #[must_use]
    pub fn hex(&self) -> String {
        self.digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Holes are not read, and a page of zeroes that is no hole counts as one, so that
/// it does not matter how a copy was made.
fn digest(file: &File, len: u64) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    hasher.update(len.to_le_bytes());
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    while let Some(data) = next_data(file, at, len)? {
        let end = data.end;
        at = data.start;
        while at < end {
            let piece = usize::try_from(len - at).unwrap_or(PIECE).min(PIECE);
            file.read_exact_at(&mut buffer[..piece], at)?;
            for (index, page) in (at / PAGE as u64..).zip(buffer[..piece].chunks(PAGE)) {
                if page.iter().any(|byte| *byte != 0) {
                    hasher.update(index.to_le_bytes());
                    hasher.update(page);
                }
            }
            at += piece as u64;
        }
    }
    Ok(hasher.finalize().into())
}

/// The first data from `at` on, from the beginning of a page to where a hole begins;
/// `None` when there is none before `len`.
pub(super) fn next_data(file: &File, at: u64, len: u64) -> io::Result<Option<Range<u64>>> {
    if at >= len {
        return Ok(None);
    }
    let seek = |at, whence| -> io::Result<u64> {
        let found = nix::unistd::lseek(file, seek_offset(at)?, whence)?;
        u64::try_from(found).map_err(|_| io::ErrorKind::InvalidData.into())
    };
    let data = match seek(at, Whence::SeekData) {
        Ok(data) if data < len => data,
        Ok(_) => return Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Ok(None),
        Err(error) => return Err(error),
    };
    let end = seek(data, Whence::SeekHole)?.min(len);
    Ok(Some(data - data % PAGE as u64..end))
}

fn seek_offset(at: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(at).map_err(|_| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_the_same_and_a_changed_byte_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        let file = File::create(&one).unwrap();
        file.set_len(5 << 20).unwrap();
        file.write_all_at(b"data", 3 << 20).unwrap();
        file.write_all_at(b"end", (5 << 20) - 3).unwrap();
        let known = KnownFile::of(&one).unwrap();
        let is = |path: &Path| known.is(&File::open(path).unwrap()).unwrap();
        assert!(is(&one));
        // Written out in full, without holes.
        std::fs::write(&two, std::fs::read(&one).unwrap()).unwrap();
        assert!(is(&two));
        let changed = File::options().write(true).open(&two).unwrap();
        changed.write_all_at(b"D", 3 << 20).unwrap();
        assert!(!is(&two));
        changed.write_all_at(b"d", 3 << 20).unwrap();
        assert!(is(&two));
        changed.write_all_at(b"x", 1 << 20).unwrap();
        assert!(!is(&two), "where a hole was");
        changed.set_len(4 << 20).unwrap();
        assert!(!is(&two), "cut off");
    }
}
