//! Putting images into the store: all of it, or none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FlockOperation;
use tempfile::TempDir;

use super::{Record, Store, StoreError};
use crate::file::{FileError, make_dir, retry, sync_dir, write_atomically};
use crate::progress::{Progress, Stage};
use crate::registry::Arrival;
use crate::{Digest, ImageRef, digest};

/// Content on its way into the store. Dropped without [`Transaction::commit`],
/// it leaves nothing.
#[derive(Debug)]
pub(crate) struct Transaction<'s> {
    store: &'s Store,
    dir: TempDir,
    blobs: BTreeMap<Digest, Blob>,
    layers: BTreeSet<Digest>,
    /// Shared lock: nobody collects garbage while this is under way.
    _lock: File,
}

/// A blob that is at hand.
#[derive(Debug)]
struct Blob {
    size: u64,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Ours, to be published.
    Staged,
    /// In the store already.
    Stored,
    /// On its way.
    Arriving(Arc<Arrival>),
}

/// Where a layer goes.
#[derive(Debug)]
pub(crate) enum LayerSlot {
    /// It is there already.
    Present(PathBuf),
    /// An empty directory to unpack it to.
    Empty(PathBuf),
}

impl<'s> Transaction<'s> {
    pub fn begin(store: &'s Store) -> Result<Self, FileError> {
        let lock = store.lock(FlockOperation::LockShared)?;
        let scratch = store.scratch();
        let dir = tempfile::Builder::new()
            .prefix("import-")
            .tempdir_in(&scratch)
            .map_err(FileError::on("create a directory in", &scratch))?;
        make_dir(&dir.path().join("blobs"))?;
        make_dir(&dir.path().join("layers"))?;
        Ok(Self { store, dir, blobs: BTreeMap::new(), layers: BTreeSet::new(), _lock: lock })
    }

    /// Copies content in; its digest and size are for the caller to check.
    pub fn stage(
        &mut self,
        content: &mut dyn Read,
        progress: &dyn Progress,
    ) -> Result<(Digest, u64), FileError> {
        let dir = self.dir.path().join("blobs");
        let (digest, size) = digest::stage(&dir, content, progress)?;
        self.blobs.insert(digest, Blob { size, place: Place::Staged });
        Ok((digest, size))
    }

    /// Has content written in.
    pub fn stage_written<E: From<FileError>>(
        &mut self,
        write: impl FnOnce(&mut dyn io::Write) -> Result<(), E>,
    ) -> Result<(Digest, u64), E> {
        let dir = self.dir.path().join("blobs");
        let (digest, size) = digest::stage_written(&dir, write)?;
        self.blobs.insert(digest, Blob { size, place: Place::Staged });
        Ok((digest, size))
    }

    /// Copies content in that is in memory.
    pub fn stage_bytes(&mut self, content: &[u8]) -> Result<Digest, FileError> {
        let (digest, _) = self.stage(&mut io::Cursor::new(content), &crate::NoProgress)?;
        Ok(digest)
    }

    /// Where a blob is.
    pub fn blob_path(&self, digest: Digest) -> PathBuf {
        match self.blobs.get(&digest) {
            Some(Blob { place: Place::Stored, .. }) => self.store.blob_path(digest),
            _ => self.dir.path().join("blobs").join(digest.hex()),
        }
    }

    /// Size of a blob, if it is at hand or on its way.
    pub fn blob_size(&self, digest: Digest) -> Option<u64> {
        self.blobs.get(&digest).map(|blob| blob.size)
    }

    /// Reads a blob, also one that is on its way.
    pub fn open_blob(&self, digest: Digest) -> Result<Box<dyn Read + Send>, FileError> {
        if let Some(Blob { place: Place::Arriving(arrival), .. }) = self.blobs.get(&digest) {
            return Ok(Box::new(arrival.reader()));
        }
        let path = self.blob_path(digest);
        Ok(Box::new(File::open(&path).map_err(FileError::on("open", &path))?))
    }

    /// Uses a blob that the store has, where it has it: our lock keeps it there.
    pub fn take_stored(&mut self, digest: Digest) -> Result<bool, FileError> {
        let path = self.store.blob_path(digest);
        match fs::metadata(&path) {
            Ok(metadata) => {
                let blob = Blob { size: metadata.len(), place: Place::Stored };
                self.blobs.insert(digest, blob);
                Ok(true)
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(FileError::on("examine", &path)(e)),
        }
    }

    /// A file for a blob that comes from afar, with what an earlier attempt has got of
    /// it. A file that another process is filling is left to it: there is another then.
    pub fn partial(&self, digest: Digest) -> Result<(File, PathBuf), FileError> {
        let open = |path: &Path| {
            File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)
                .map_err(FileError::on("create", path))
        };
        let path = self.store.partial_path(digest);
        let file = open(&path)?;
        let locked =
            retry(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive));
        // Whoever had it may have put it to use between our two calls.
        let inode = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let ours = file.metadata().map(inode).ok();
        if locked.is_ok() && ours == fs::metadata(&path).map(inode).ok() {
            return Ok((file, path));
        }
        let own = self.dir.path().join("blobs").join(format!("{}.partial", digest.hex()));
        Ok((open(&own)?, own))
    }

    /// Lets a blob be read that is on its way.
    pub fn expect(&mut self, digest: Digest, size: u64, arrival: Arc<Arrival>) {
        self.blobs.insert(digest, Blob { size, place: Place::Arriving(arrival) });
    }

    /// Takes over a blob that has come in, whole and verified, at `path`.
    pub fn arrived(&mut self, digest: Digest, path: &Path) -> Result<(), FileError> {
        if let Some(blob) = self.blobs.get_mut(&digest) {
            blob.place = Place::Staged;
        }
        let staged = self.blob_path(digest);
        fs::rename(path, &staged).map_err(FileError::on("create", &staged))
    }

    /// Where the layer of this ChainID is or is to be unpacked.
    pub fn layer(&mut self, chain: Digest) -> Result<LayerSlot, FileError> {
        let published = self.store.layer_path(chain);
        if published.is_dir() {
            return Ok(LayerSlot::Present(published));
        }
        let staged = self.dir.path().join("layers").join(chain.hex());
        if self.layers.contains(&chain) {
            return Ok(LayerSlot::Present(staged));
        }
        fs::create_dir(&staged).map_err(FileError::on("create", &staged))?;
        Ok(LayerSlot::Empty(staged))
    }

    /// An empty directory for a layer whose digest will only be known when it
    /// is unpacked.
    pub fn unnamed_layer(&mut self) -> Result<PathBuf, FileError> {
        let dir = self.dir.path().join("unnamed");
        fs::create_dir(&dir).map_err(FileError::on("create", &dir))?;
        Ok(dir)
    }

    /// Gives a layer unpacked to [`Transaction::unnamed_layer`] its name.
    pub fn name_layer(&mut self, unnamed: &Path, chain: Digest) -> Result<PathBuf, FileError> {
        match self.layer(chain)? {
            LayerSlot::Present(dir) => {
                crate::tree::remove_all(unnamed)?;
                Ok(dir)
            }
            LayerSlot::Empty(dir) => {
                // Takes the place of the empty directory.
                fs::rename(unnamed, &dir).map_err(FileError::on("create", &dir))?;
                self.layer_done(chain);
                Ok(dir)
            }
        }
    }

    /// Says that the layer's directory is complete.
    pub fn layer_done(&mut self, chain: Digest) {
        self.layers.insert(chain);
    }

    /// Makes everything visible, under these names. The garbage collector waits
    /// until the transaction is dropped: time to take hold of the images.
    ///
    /// One `syncfs` stands for an `fsync` of each of thousands of files, at a
    /// fraction of the price. It cannot be left out: a rename may reach the
    /// disk before the data of the files below it, and after a power cut the
    /// store would hold layers full of empty files that look whole.
    pub fn commit(
        &self,
        records: &[(Record, Vec<ImageRef>)],
        progress: &dyn Progress,
    ) -> Result<(), StoreError> {
        progress.begin(Stage::Publish, None);
        let needed: BTreeSet<Digest> =
            records.iter().flat_map(|(r, _)| r.all_blobs()).collect();
        self.publish(|digest| needed.contains(&digest))?;
        for (record, names) in records {
            let path = self.store.record_path(record.manifest);
            let json = serde_json::to_vec(record)
                .map_err(|source| StoreError::Damaged { path: path.clone(), source })?;
            write_atomically(&path, &json, &self.store.scratch())?;
            for name in names {
                self.store.write_name(name, record.manifest)?;
            }
        }
        Ok(())
    }

    /// Makes blobs and layers visible that belong to no image yet: to be kept, they must
    /// be noted somewhere before the transaction is dropped.
    pub fn publish_all(&self) -> Result<(), FileError> {
        self.publish(|_| true)
    }

    fn publish(&self, is_needed: impl Fn(Digest) -> bool) -> Result<(), FileError> {
        let root =
            File::open(self.dir.path()).map_err(FileError::on("open", self.dir.path()))?;
        rustix::fs::syncfs(&root).map_err(FileError::on("sync", self.dir.path()))?;

        let staged = self.blobs.iter().filter(|(_, blob)| matches!(blob.place, Place::Staged));
        for (digest, _) in staged.filter(|(digest, _)| is_needed(**digest)) {
            publish(&self.blob_path(*digest), &self.store.blob_path(*digest))?;
        }
        for chain in &self.layers {
            let staged = self.dir.path().join("layers").join(chain.hex());
            publish(&staged, &self.store.layer_path(*chain))?;
        }
        sync_dir(&self.store.root.join("blobs/sha256"))?;
        sync_dir(&self.store.root.join("layers"))
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // What cannot be removed now is for the garbage collector.
        let _ = crate::tree::remove_all(self.dir.path());
    }
}

/// Renames into place, unless another process has put the same there first:
/// names are digests, so the same name is the same content.
fn publish(staged: &Path, place: &Path) -> Result<(), FileError> {
    let there = |e: &io::Error| {
        matches!(e.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty)
    };
    match fs::rename(staged, place) {
        Err(e) if there(&e) => Ok(()),
        other => other.map_err(FileError::on("create", place)),
    }
}
