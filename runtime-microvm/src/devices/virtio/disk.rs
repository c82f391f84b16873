//! The file behind a disk, whichever device shows it to the guest.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The smallest disk, bytes: one sector.
const MIN_LEN: u64 = 512;

/// A disk image that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// It could not be opened.
    #[error("cannot open the disk {}", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is something else.
    #[error("{} is neither a file nor a block device", path.display())]
    NotADisk {
        /// Which file.
        path: PathBuf,
    },
    /// There is nothing on it.
    #[error("the disk {} is empty", path.display())]
    Empty {
        /// Which file.
        path: PathBuf,
    },
}

/// A disk image, opened read-only.
#[derive(Debug)]
pub struct DiskImage {
    /// The file or block device.
    pub file: File,
    /// Its length, bytes.
    pub len: u64,
}

impl DiskImage {
    /// Opens the image at `path`.
    ///
    /// # Errors
    ///
    /// [`DiskError`].
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let open = |source| DiskError::Open { path: path.to_owned(), source };
        let file = File::open(path).map_err(open)?;
        let metadata = file.metadata().map_err(open)?;
        if !metadata.is_file() && !metadata.file_type().is_block_device() {
            return Err(DiskError::NotADisk { path: path.to_owned() });
        }
        let len = if metadata.is_file() {
            metadata.size()
        } else {
            io::Seek::seek(&mut &file, io::SeekFrom::End(0)).map_err(open)?
        };
        if len < MIN_LEN {
            return Err(DiskError::Empty { path: path.to_owned() });
        }
        Ok(Self { file, len })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn images_that_are_none_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty");
        fs::write(&empty, [0; 511]).unwrap();
        let missing = dir.path().join("missing");
        assert!(matches!(DiskImage::open(&missing), Err(DiskError::Open { .. })));
        assert!(matches!(DiskImage::open(&empty), Err(DiskError::Empty { .. })));
        assert!(matches!(DiskImage::open(dir.path()), Err(DiskError::NotADisk { .. })));
    }
}
