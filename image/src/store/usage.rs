//! How much room images take, and how much of it they share.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;

use super::{Store, StoreError, list_dir};
use crate::{Digest, ImageRef};

/// What an image takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUsage {
    /// The image.
    pub digest: Digest,
    /// Its names.
    pub names: Vec<ImageRef>,
    /// Bytes of its layers, as they are kept to be sent on.
    pub size_bytes: u64,
    /// How many of them other images have as well.
    pub shared_bytes: u64,
}

impl ImageUsage {
    /// Bytes that only this image has.
    #[must_use]
    pub fn unique_bytes(&self) -> u64 {
        self.size_bytes - self.shared_bytes
    }
}

/// What a store takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Its images, in the order of their digests.
    pub images: Vec<ImageUsage>,
    /// Bytes of all their layers, each counted once.
    pub images_bytes: u64,
    /// Steps in the cache of builds.
    pub cached_steps: usize,
    /// Bytes of layers that only the cache needs.
    pub cache_bytes: u64,
    /// Bytes of the disks that microVMs boot from.
    pub disks_bytes: u64,
}

impl Store {
    /// Adds up what is in the store.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let mut images: BTreeMap<Digest, (Vec<ImageRef>, BTreeSet<Digest>)> = BTreeMap::new();
        for listed in self.list()? {
            let blobs = listed.image.layer_blobs().iter().copied().collect();
            let entry =
                images.entry(listed.image.digest()).or_insert_with(|| (Vec::new(), blobs));
            entry.0.push(listed.name);
        }
        let mut users: BTreeMap<Digest, usize> = BTreeMap::new();
        for blob in images.values().flat_map(|(_, blobs)| blobs) {
            *users.entry(*blob).or_default() += 1;
        }
        let size = |blob: &Digest| fs::metadata(self.blob_path(*blob)).map_or(0, |m| m.len());
        let used = |(digest, (names, blobs)): (Digest, (Vec<ImageRef>, BTreeSet<Digest>))| {
            let shared = blobs.iter().filter(|blob| users.get(blob).is_some_and(|n| *n > 1));
            ImageUsage {
                digest,
                names,
                size_bytes: blobs.iter().map(size).sum(),
                shared_bytes: shared.map(size).sum(),
            }
        };
        let mut only_cached = BTreeSet::new();
        for layer in self.cached_layers()? {
            if !users.contains_key(&layer.blob) {
                only_cached.insert(layer.blob);
            }
        }
        let disks = self.disks()?;
        // Disks have holes where their files do.
        let on_disk = |path| fs::metadata(path).map_or(0, |m| m.blocks() * 512);
        Ok(Usage {
            images_bytes: users.keys().map(size).sum(),
            images: images.into_iter().map(used).collect(),
            cached_steps: list_dir(&self.root.join("cache"))?.len(),
            cache_bytes: only_cached.iter().map(size).sum(),
            disks_bytes: disks.into_iter().map(on_disk).sum(),
        })
    }
}
