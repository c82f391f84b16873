//! Collecting what no image needs any more.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::{Store, StoreError, list_dir};
use crate::Digest;
use crate::file::{FileError, retry};

/// What [`Store::collect_garbage`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Garbage {
    /// Images without a name.
    pub images: usize,
    /// Blobs, layers and disks that no image needs.
    pub parts: usize,
    /// Leftovers of operations that were killed.
    pub leftovers: usize,
}

impl Store {
    /// Removes images without a name, what only they were made of, and
    /// whatever killed processes left half made. Images in use are kept (see
    /// [`Image`](crate::Image)). Waits for imports that are under way.
    ///
    /// # Errors
    ///
    /// When the store cannot be read or something cannot be removed.
    pub fn collect_garbage(&self) -> Result<Garbage, StoreError> {
        let mut garbage = Garbage::default();
        if !self.root.is_dir() {
            return Ok(garbage);
        }
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        let mut kept = Kept::default();
        let named: BTreeSet<_> = self
            .names()?
            .iter()
            .filter_map(|name| self.read_name(name).transpose())
            .collect::<Result<_, _>>()?;
        for digest in self.digests()? {
            if !named.contains(&digest) && self.drop_record(digest)? {
                garbage.images += 1;
            } else {
                kept.add(&self.load(digest)?);
            }
        }
        for layer in self.cached_layers()? {
            kept.blobs.insert(layer.blob);
            kept.layers.insert(layer.chain);
        }
        // First, so that what is swept there below finds its name free.
        garbage.leftovers = self.clear_builds()? + self.clear_scratch()?;
        for (dir, wanted) in [
            ("blobs/sha256", &kept.blobs),
            ("layers", &kept.layers),
            ("disks", &kept.images),
            ("partial", &BTreeSet::new()),
        ] {
            garbage.parts += self.sweep(dir, wanted)?;
            self.clear_scratch()?;
        }
        Ok(garbage)
    }

    /// Removes the record of an image unless somebody uses the image.
    fn drop_record(&self, digest: Digest) -> Result<bool, FileError> {
        let path = self.record_path(digest);
        let file = File::open(&path).map_err(FileError::on("open", &path))?;
        match retry(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(e) => return Err(FileError::on("lock", &path)(e)),
        }
        fs::remove_file(&path).map_err(FileError::on("remove", &path))?;
        Ok(true)
    }

    /// Removes what is half made, or half removed; returns how many things.
    fn clear_scratch(&self) -> Result<usize, FileError> {
        let scratch = self.scratch();
        let names = list_dir(&scratch)?;
        for name in &names {
            remove_tree(&scratch.join(name))?;
        }
        Ok(names.len())
    }

    /// Moves all entries that are not wanted to `tmp/`: removing a layer takes
    /// time, and one that is half removed must not be found under its name.
    fn sweep(&self, dir: &str, wanted: &BTreeSet<Digest>) -> Result<usize, FileError> {
        let dir = self.root.join(dir);
        let mut swept = 0;
        for name in list_dir(&dir)? {
            let hex = name.split('.').next().unwrap_or_default();
            if Digest::from_hex(hex).is_ok_and(|digest| wanted.contains(&digest)) {
                continue;
            }
            let from = dir.join(&name);
            fs::rename(&from, self.scratch().join(&name))
                .map_err(FileError::on("remove", &from))?;
            swept += 1;
        }
        Ok(swept)
    }
}

/// What the images that stay need.
#[derive(Default)]
struct Kept {
    images: BTreeSet<Digest>,
    blobs: BTreeSet<Digest>,
    layers: BTreeSet<Digest>,
}

impl Kept {
    fn add(&mut self, image: &crate::Image) {
        let record = image.record();
        self.images.insert(record.manifest);
        self.blobs.extend(record.all_blobs());
        self.layers.extend(&record.chain);
    }
}

/// Removes a file or a whole tree, whatever the modes of its directories.
fn remove_tree(path: &Path) -> Result<(), FileError> {
    if path.is_symlink() || !path.is_dir() {
        return fs::remove_file(path).map_err(FileError::on("remove", path));
    }
    crate::tree::remove_all(path)
}
