//! An image in the store, ready to be run.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use bulkhead_runtime::Rootfs;
use oci_spec::image::{History, ImageConfiguration};
use rustix::fs::FlockOperation;

use crate::Digest;
use crate::accounts::Accounts;
use crate::file::{FileError, read_open, retry};
use crate::store::{Record, StoreError};

/// An image that has been imported and unpacked.
///
/// While it lives, a lock keeps garbage collection away from the image, even
/// when its name is removed or given to another one. The lock is on the open
/// file, so a child process that inherits [`Image::as_fd`] keeps it too.
#[derive(Debug)]
pub struct Image {
    record: Record,
    layers: Vec<PathBuf>,
    lock: File,
}

/// Longest record read.
const RECORD_LIMIT: u64 = 16 * 1024 * 1024;

impl Image {
    /// Loads an image from its record: one small file.
    pub(crate) fn load(path: &Path, store: &Path) -> Result<Self, StoreError> {
        let lock = File::open(path).map_err(FileError::on("open", path))?;
        retry(|| rustix::fs::flock(&lock, FlockOperation::LockShared))
            .map_err(FileError::on("lock", path))?;
        // Removed between opening and locking?
        let stat = rustix::fs::fstat(&lock).map_err(FileError::on("examine", path))?;
        if stat.st_nlink == 0 {
            return Err(FileError::on("open", path)(std::io::ErrorKind::NotFound).into());
        }
        let bytes = read_open(&lock, path, RECORD_LIMIT)?;
        let damaged = |source| StoreError::Damaged { path: path.to_owned(), source };
        let record: Record = serde_json::from_slice(&bytes).map_err(damaged)?;
        if record.version != Record::VERSION {
            return Err(StoreError::OtherVersion {
                path: path.to_owned(),
                found: record.version,
            });
        }
        let dir = store.join("layers");
        let layers = record.visible_chain().map(|chain| dir.join(chain.hex())).collect();
        Ok(Self { record, layers, lock })
    }

    /// Digest of the manifest: the identity of the image.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.record.manifest
    }

    /// Digest of the configuration, which docker calls the image id.
    #[must_use]
    pub fn config_digest(&self) -> Digest {
        self.record.config_digest
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &ImageConfiguration {
        &self.record.config
    }

    /// Users and groups of the image.
    #[must_use]
    pub fn accounts(&self) -> &Accounts {
        &self.record.accounts
    }

    /// Bytes of its layers as they were imported, so mostly compressed.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.record.size_bytes
    }

    /// Digests of the layer blobs, bottom first.
    #[must_use]
    pub fn layer_blobs(&self) -> &[Digest] {
        &self.record.blobs
    }

    /// How the image came to be, oldest first, with the blob of each step that made a
    /// layer (image-spec, "Image Configuration", `history`). Images without a history
    /// have as many steps as layers.
    #[must_use]
    pub fn history(&self) -> Vec<(History, Option<Digest>)> {
        let mut blobs = self.record.blobs.iter().copied();
        let told = self.config().history().as_deref().unwrap_or_default();
        let mut steps: Vec<_> = told
            .iter()
            .map(|step| {
                let empty = step.empty_layer().unwrap_or(false);
                (step.clone(), if empty { None } else { blobs.next() })
            })
            .collect();
        // A history need not tell of all layers.
        steps.extend(blobs.map(|blob| (History::default(), Some(blob))));
        steps
    }

    /// The unpacked layers for overlayfs, topmost first: the form of root
    /// filesystem the container backend takes.
    #[must_use]
    pub fn layers(&self) -> Rootfs {
        Rootfs::Layers(self.layers.clone())
    }

    pub(crate) fn layer_dirs(&self) -> &[PathBuf] {
        &self.layers
    }

    pub(crate) fn record(&self) -> &Record {
        &self.record
    }
}

impl AsFd for Image {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }
}
