//! Unpacking a layer (image-spec, "Image Layer Filesystem Changeset") into a
//! directory that overlayfs can use.
//!
//! A layer is unpacked alone, not on top of a copy of those below: what it
//! deletes is kept as overlayfs keeps it. Nothing is synced to the disk file by
//! file; whoever makes the layer visible does that once for all of them.

mod directories;
mod layer;
pub(crate) mod metadata;
mod path;
mod root;
mod stream;
mod whiteout;

use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub(crate) use metadata::read_xattrs;
pub use path::PathError;

use crate::Digest;
use crate::compression::{Compression, UnsupportedCompression};
use crate::merged::MergedView;
use crate::progress::Progress;
use crate::tarball::{TarError, TarReader, lossy};
use layer::Layer;
use stream::{Stream, StreamError};

/// How much a layer may hold: a small file can decompress to more than any
/// disk has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnpackLimits {
    /// Bytes of the decompressed archive, and of all files made of it.
    pub max_bytes: u64,
    /// Entries in the archive.
    pub max_entries: u64,
    /// Decompressed bytes for each compressed one, looked at only after
    /// [`UnpackLimits::ratio_from_bytes`]: a small file of zeros is no harm.
    pub max_ratio: u64,
    /// Decompressed bytes from which the ratio counts.
    pub ratio_from_bytes: u64,
}

impl Default for UnpackLimits {
    /// 16 GiB and a million entries: several times the largest images in use.
    /// The ratio is far above that of text (some 10:1) and below the 1030:1
    /// that gzip makes of zeros.
    fn default() -> Self {
        Self {
            max_bytes: 16 << 30,
            max_entries: 1_000_000,
            max_ratio: 200,
            ratio_from_bytes: 1 << 30,
        }
    }
}

/// A limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// [`UnpackLimits::max_bytes`].
    #[error("it holds more than {0} bytes, the limit")]
    Bytes(u64),
    /// [`UnpackLimits::max_entries`].
    #[error("it holds more than {0} entries, the limit")]
    Entries(u64),
    /// [`UnpackLimits::max_ratio`].
    #[error("it decompresses to more than {0} times its size, the limit")]
    Ratio(u64),
}

impl UnpackLimits {
    /// Checks what has come out so far against what went in.
    fn check(&self, bytes: u64, compressed: u64) -> Result<(), LimitError> {
        if bytes > self.max_bytes {
            return Err(LimitError::Bytes(self.max_bytes));
        }
        let allowed = compressed.saturating_mul(self.max_ratio);
        if bytes > self.ratio_from_bytes && bytes > allowed {
            return Err(LimitError::Ratio(self.max_ratio));
        }
        Ok(())
    }
}

/// A layer that cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The compressed data ends too early.
    #[error("the layer is truncated")]
    Truncated,
    /// The compressed data is damaged or cannot be read.
    #[error("the layer cannot be decompressed")]
    Decode(#[source] io::Error),
    /// A compression this program does not know.
    #[error("the layer cannot be decompressed")]
    Compression(#[source] UnsupportedCompression),
    /// A limit was reached.
    #[error("the layer is too large: {0}")]
    Limit(LimitError),
    /// The layer is not what the image's configuration says.
    #[error("the layer decompresses to {found}, the image says {expected}")]
    Digest {
        /// What the configuration says.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// The archive is damaged.
    #[error("the layer is not a proper archive")]
    Archive(#[source] TarError),
    /// One entry cannot be unpacked.
    #[error("entry `{path}` of the layer cannot be unpacked")]
    Entry {
        /// Its name, as in the archive.
        path: String,
        /// Why not.
        #[source]
        source: EntryError,
    },
    /// The layer's directory, or one below it, cannot be used.
    #[error("cannot use {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A bug: the thread that decompresses has panicked.
    #[error("decompressing the layer failed in an unforeseen way")]
    Panicked,
}

/// An entry that cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// Its name leads out of the image, or too deep into it.
    #[error("its place in the image is not allowed: {0}")]
    Path(PathError),
    /// The name of what it is a hard link to leads out of the image.
    #[error("it is a hard link to `{target}`, outside the image: {reason}")]
    LinkTarget {
        /// The name.
        target: String,
        /// Why it is outside.
        reason: PathError,
    },
    /// What it is a hard link to does not exist.
    #[error("it is a hard link to `{0}`, which the layer does not have")]
    LinkTargetMissing(String),
    /// A directory in a name is a symlink.
    #[error("a directory in `{0}` is a symlink, which could lead out of the image")]
    ThroughSymlink(String),
    /// A directory in a name is a file.
    #[error("a directory in `{0}` is a file")]
    ThroughFile(String),
    /// The root of the image would not be a directory.
    #[error("the root of an image must be a directory")]
    RootNotDirectory,
    /// A whiteout that would delete the root or something outside it.
    #[error("a whiteout of the directory itself, or of one above it, is not allowed")]
    WhiteoutOfRoot,
    /// A whiteout used as a directory.
    #[error("names that begin with `.wh.` are for whiteouts")]
    ReservedName,
    /// Making devices needs root.
    #[error("it is a device node, which only root can make")]
    DeviceUnprivileged,
    /// A device that overlayfs would take for a whiteout.
    #[error("it is the character device 0:0, which overlayfs takes for a deletion")]
    WhiteoutDevice,
    /// Not a kind of file.
    #[error("its type `{}` is unknown", .0.escape_ascii())]
    Type(u8),
    /// An owner that Linux does not have.
    #[error("its owner {0} is not a user or group id")]
    Owner(u64),
    /// An extended attribute cannot be set.
    #[error("its extended attribute {name} cannot be set")]
    Xattr {
        /// Name of the attribute.
        name: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A call failed.
    #[error("cannot {action} it")]
    Io {
        /// What was being done.
        action: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl EntryError {
    /// Turns what the kernel said into an error.
    fn io<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { action, source: source.into() }
    }
}

/// What a layer came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unpacked {
    /// Digest of the decompressed archive.
    pub diff_id: Digest,
    /// Bytes of file content.
    pub file_bytes: u64,
    /// Entries in the archive.
    pub entries: u64,
}

/// Unpacks a layer.
#[derive(Debug)]
pub struct Unpack<'a> {
    /// An empty directory, for the layer.
    pub target: &'a Path,
    /// Unpacked layers below, topmost first.
    pub below: &'a [PathBuf],
    /// What the archive must amount to, if that is known.
    pub diff_id: Option<Digest>,
    /// How much it may hold.
    pub limits: UnpackLimits,
}

impl Unpack<'_> {
    /// Unpacks `blob`, an archive, compressed or not, which may still be on its way.
    /// On error the target is left as it is then, for the caller to remove.
    ///
    /// # Errors
    ///
    /// [`UnpackError`].
    pub fn run(
        &self,
        blob: impl Read + Send,
        progress: &dyn Progress,
    ) -> Result<Unpacked, UnpackError> {
        let (compression, blob) =
            Compression::detect_reader(blob).map_err(UnpackError::Decode)?;
        let compression = compression.map_err(UnpackError::Compression)?;
        std::thread::scope(|scope| {
            let (stream, decoder) =
                stream::decode(scope, blob, compression, self.limits, progress);
            let written = self.write(stream);
            let decoded = decoder.join().map_err(|_| UnpackError::Panicked)?;
            let (file_bytes, entries) = written?;
            // Not read to the end without an error: cannot happen.
            let diff_id = decoded.ok_or(UnpackError::Truncated)?;
            match self.diff_id {
                Some(expected) if expected != diff_id => {
                    Err(UnpackError::Digest { expected, found: diff_id })
                }
                _ => Ok(Unpacked { diff_id, file_bytes, entries }),
            }
        })
    }

    /// Makes files of what comes out of the stream.
    fn write(&self, stream: Stream) -> Result<(u64, u64), UnpackError> {
        let directory = |path: &Path| {
            let path = path.to_owned();
            move |source| UnpackError::Directory { path, source }
        };
        let below = match self.below {
            [] => None,
            [top, ..] => Some(MergedView::open(self.below).map_err(directory(top))?),
        };
        let mut layer = Layer::new(self.target, below.as_ref(), self.limits)
            .map_err(directory(self.target))?;
        let mut archive = TarReader::new(stream);
        let result = layer.unpack_all(&mut archive);
        let mut stream = archive.into_inner();
        let result = result.and_then(|()| {
            stream.drain().map_err(UnpackError::Decode)?;
            layer.apply_marks()?;
            layer.finish()
        });
        // When the stream broke off, that is the reason for everything else.
        match stream.failure.take() {
            Some(StreamError::Limit(limit)) => Err(UnpackError::Limit(limit)),
            Some(StreamError::Decode(e)) if e.kind() == io::ErrorKind::UnexpectedEof => {
                Err(UnpackError::Truncated)
            }
            Some(StreamError::Decode(e)) => Err(UnpackError::Decode(e)),
            None => result.map(|()| layer.totals()),
        }
    }
}

/// An error of one entry, with the entry's name.
fn entry_error(path: &[u8]) -> impl FnOnce(EntryError) -> UnpackError {
    let path = lossy(path);
    move |source| UnpackError::Entry { path, source }
}
