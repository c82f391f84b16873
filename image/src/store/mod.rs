//! Where images are kept.
//!
//! ```text
//! blobs/sha256/<hex>     manifests, configurations, layers: as imported
//! layers/<chain id>/     unpacked layers, for overlayfs
//! disks/<image>.<key>    EROFS disks made of them
//! records/<image>.json   what is needed to run an image (see `record`)
//! images/<name>          the digest a name stands for
//! partial/<hex>          blobs that a registry has given a part of
//! cache/, builds/        what builds have made, and where they work (see `cache`)
//! tmp/                   whatever is half made
//! lock                   shared: somebody makes something; exclusive: collecting garbage
//! ```
//!
//! Content comes into being in `tmp/` and is renamed into place when whole and
//! on the disk, so what is found outside `tmp/` is complete, whenever the
//! process was killed or the machine lost power. Images in use are protected
//! by a shared lock on their record, which the kernel drops with its holder.

mod cache;
mod garbage;
mod record;
mod transaction;
mod usage;

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::file::{self, FileError, read_small};
use crate::image::Image;
use crate::{Digest, ImageRef, ParseNameError};

pub(crate) use cache::{BuildDir, BuiltLayer, CachedStep};
pub use garbage::Garbage;
pub(crate) use record::Record;
pub(crate) use transaction::{LayerSlot, Transaction};
pub use usage::{ImageUsage, Usage};

/// A store of images, in a directory of its own.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// Failure to find or keep an image.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No image of that name or digest.
    #[error("no image called `{0}`; `bulkhead image ls` shows those there are")]
    NotFound(String),
    /// A digest prefix that fits several images.
    #[error("`{prefix}` could be any of {count} images; give more digits")]
    Ambiguous {
        /// The prefix.
        prefix: String,
        /// How many images it fits.
        count: usize,
    },
    /// Not a name an image can have.
    #[error(transparent)]
    Name(#[from] ParseNameError),
    /// A file in the store is not what it should be.
    #[error("{} is damaged; remove the image and import it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why it cannot be understood.
        #[source]
        source: serde_json::Error,
    },
    /// A record written by another version of this program.
    #[error("{} has format {found}, this program knows {known}; import the image again",
        path.display(), known = Record::VERSION)]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A name and the image it stands for.
#[derive(Debug)]
pub struct Listed {
    /// The name.
    pub name: ImageRef,
    /// The image.
    pub image: Image,
}

/// Longest record or name file read.
const RECORD_LIMIT: u64 = 16 * 1024 * 1024;
/// What a store consists of.
const DIRECTORIES: [&str; 9] = [
    "blobs/sha256",
    "layers",
    "disks",
    "records",
    "images",
    "partial",
    "cache",
    "builds",
    "tmp",
];
/// Fewest digits a digest may be shortened to.
const MIN_PREFIX: usize = 4;

impl Store {
    /// A store in a directory, which is made when something is first put there.
    #[must_use]
    pub fn open(dir: impl Into<PathBuf>) -> Self {
        let root = dir.into();
        // What comes out of the store is used from other directories and mount
        // namespaces. Only an empty path cannot be made absolute.
        Self { root: std::path::absolute(&root).unwrap_or(root) }
    }

    /// The user's own place for images: `/var/lib/bulkhead` for root,
    /// `$XDG_DATA_HOME/bulkhead` (or `~/.local/share/bulkhead`) otherwise.
    /// `BULKHEAD_STORE` overrides it.
    #[must_use]
    pub fn default_dir() -> PathBuf {
        if let Some(dir) = std::env::var_os("BULKHEAD_STORE") {
            return dir.into();
        }
        if rustix::process::geteuid().is_root() {
            return "/var/lib/bulkhead".into();
        }
        let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
        let home =
            || Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".local/share");
        // The XDG specification says to ignore relative paths.
        data.filter(|dir| dir.is_absolute()).unwrap_or_else(home).join("bulkhead")
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The image a name, a digest (`sha256:…`) or the first digits of one
    /// stands for. A name goes before a digest.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`], [`StoreError::Ambiguous`], or what is wrong
    /// with the image's files.
    pub fn resolve(&self, name_or_digest: &str) -> Result<Image, StoreError> {
        if let Ok(name) = name_or_digest.parse::<ImageRef>()
            && let Some(digest) = self.read_name(&name)?
        {
            return self.load(digest);
        }
        let not_found = || StoreError::NotFound(name_or_digest.to_owned());
        let digits = name_or_digest.strip_prefix("sha256:").unwrap_or(name_or_digest);
        if digits.len() < MIN_PREFIX || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(not_found());
        }
        let mut found = self.digests()?;
        found.retain(|digest| digest.hex().starts_with(digits));
        match found[..] {
            [] => Err(not_found()),
            [one] => self.load(one),
            _ => Err(StoreError::Ambiguous { prefix: digits.to_owned(), count: found.len() }),
        }
    }

    /// All names and their images, in the order of the names.
    ///
    /// # Errors
    ///
    /// When the store cannot be read or a record is damaged.
    pub fn list(&self) -> Result<Vec<Listed>, StoreError> {
        let mut listed = Vec::new();
        for name in self.names()? {
            let Some(digest) = self.read_name(&name)? else { continue };
            match self.load(digest) {
                Ok(image) => listed.push(Listed { name, image }),
                // Removed while we were looking.
                Err(StoreError::NotFound(_)) => {}
                Err(e) => return Err(e),
            }
        }
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    /// Forgets a name, or all names of an image given by digest; returns them.
    /// What the image was made of stays until [`Store::collect_garbage`].
    ///
    /// # Errors
    ///
    /// As [`Store::resolve`].
    pub fn remove(&self, name_or_digest: &str) -> Result<Vec<ImageRef>, StoreError> {
        let named = match name_or_digest.parse::<ImageRef>() {
            Ok(name) if self.read_name(&name)?.is_some() => vec![name],
            _ => self.names_of(self.resolve(name_or_digest)?.digest())?,
        };
        for name in &named {
            let path = self.name_path(name);
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(FileError::on("remove", &path)(e).into());
                }
                _ => {}
            }
        }
        Ok(named)
    }

    /// The names an image goes by.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn names_of(&self, image: Digest) -> Result<Vec<ImageRef>, StoreError> {
        let mut found = Vec::new();
        for name in self.names()? {
            if self.read_name(&name)? == Some(image) {
                found.push(name);
            }
        }
        found.sort();
        Ok(found)
    }

    /// Gives an image a (further) name, taking it from whatever had it.
    ///
    /// # Errors
    ///
    /// When the name cannot be written.
    pub fn tag(&self, image: &Image, name: &ImageRef) -> Result<(), StoreError> {
        let _lock = self.lock(FlockOperation::LockShared)?;
        self.write_name(name, image.digest())
    }

    /// Where a blob is, if it is there.
    #[must_use]
    pub fn blob_path(&self, digest: Digest) -> PathBuf {
        self.root.join(digest.path_in_layout())
    }

    pub(crate) fn load(&self, digest: Digest) -> Result<Image, StoreError> {
        let path = self.record_path(digest);
        Image::load(&path, &self.root).map_err(|e| match e {
            StoreError::File(e) if e.is_not_found() => StoreError::NotFound(digest.to_string()),
            other => other,
        })
    }

    /// Takes the lock of the store, making the store first if need be.
    pub(crate) fn lock(&self, operation: FlockOperation) -> Result<fs::File, FileError> {
        for dir in DIRECTORIES {
            file::make_dir(&self.root.join(dir))?;
        }
        file::lock(&self.root.join("lock"), operation)
    }

    /// Where the layer of this ChainID is unpacked.
    pub(crate) fn layer_path(&self, chain: Digest) -> PathBuf {
        self.root.join("layers").join(chain.hex())
    }

    /// The disks that have been made of images.
    ///
    /// # Errors
    ///
    /// When their directory cannot be listed.
    pub fn disks(&self) -> Result<Vec<PathBuf>, FileError> {
        let dir = self.root.join("disks");
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(FileError::on("list", &dir))?,
        };
        Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
    }

    pub(crate) fn disk_path(&self, file_name: &str) -> PathBuf {
        self.root.join("disks").join(file_name)
    }

    pub(crate) fn partial_path(&self, digest: Digest) -> PathBuf {
        self.root.join("partial").join(digest.hex())
    }

    pub(crate) fn scratch(&self) -> PathBuf {
        self.root.join("tmp")
    }

    fn record_path(&self, digest: Digest) -> PathBuf {
        self.root.join("records").join(digest.hex() + ".json")
    }

    fn name_path(&self, name: &ImageRef) -> PathBuf {
        self.root.join("images").join(name.to_file_name())
    }

    fn read_name(&self, name: &ImageRef) -> Result<Option<Digest>, StoreError> {
        let path = self.name_path(name);
        match read_small(&path, RECORD_LIMIT) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| StoreError::Damaged { path, source }),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    fn write_name(&self, name: &ImageRef, image: Digest) -> Result<(), StoreError> {
        let json = format!("\"{image}\"\n");
        Ok(file::write_atomically(&self.name_path(name), json.as_bytes(), &self.scratch())?)
    }

    /// Digests of all images that have a record.
    fn digests(&self) -> Result<Vec<Digest>, FileError> {
        let names = list_dir(&self.root.join("records"))?;
        let digest = |name: &String| Digest::from_hex(name.strip_suffix(".json")?).ok();
        Ok(names.iter().filter_map(digest).collect())
    }

    fn names(&self) -> Result<Vec<ImageRef>, FileError> {
        let files = list_dir(&self.root.join("images"))?;
        Ok(files.iter().filter_map(|file| ImageRef::from_file_name(file).ok()).collect())
    }
}

/// Names of the files in a directory that are text; none when it is missing.
fn list_dir(dir: &Path) -> Result<Vec<String>, FileError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(FileError::on("list", dir)(e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(FileError::on("list", dir))?;
        if let Ok(name) = std::str::from_utf8(entry.file_name().as_bytes()) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
