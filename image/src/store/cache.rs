//! What builds have made before: the cache of their steps, and where they work.
//!
//! ```text
//! cache/<key>.json     what a step came to that began with the same and did the same
//! builds/<random>/     what a build that is under way keeps for itself
//! cache.lock           shared: somebody builds; exclusive: the cache is thrown away
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::{Store, StoreError, list_dir};
use crate::Digest;
use crate::file::{self, FileError, read_small, retry};

/// A layer that a step made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BuiltLayer {
    pub blob: Digest,
    pub diff_id: Digest,
    /// ChainID of it and those below.
    pub chain: Digest,
}

/// What a step came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CachedStep {
    version: u32,
    /// When, as histories have it.
    pub created: String,
    /// The layer, if it made one.
    pub layer: Option<BuiltLayer>,
}

impl CachedStep {
    const VERSION: u32 = 1;

    pub fn new(created: &str, layer: Option<BuiltLayer>) -> Self {
        Self { version: Self::VERSION, created: created.to_owned(), layer }
    }
}

/// Longest entry read.
const ENTRY_LIMIT: u64 = 64 * 1024;

/// A directory of a build's own. It goes with the build; what a killed one leaves, the
/// garbage collector removes.
#[derive(Debug)]
pub(crate) struct BuildDir {
    dir: TempDir,
    _own: File,
    /// Keeps the cache from being thrown away.
    _cache: File,
}

impl BuildDir {
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for BuildDir {
    fn drop(&mut self) {
        // What cannot be removed now is for the garbage collector.
        let _ = crate::tree::remove_all(self.dir.path());
    }
}

const LOCK: &str = ".lock";

impl Store {
    /// Begins a build.
    pub(crate) fn build_dir(&self) -> Result<BuildDir, FileError> {
        let _lock = self.lock(FlockOperation::LockShared)?;
        let cache = file::lock(&self.root.join("cache.lock"), FlockOperation::LockShared)?;
        let builds = self.root.join("builds");
        let dir = tempfile::tempdir_in(&builds)
            .map_err(FileError::on("create a directory in", &builds))?;
        let own = file::lock(&dir.path().join(LOCK), FlockOperation::LockExclusive)?;
        Ok(BuildDir { dir, _own: own, _cache: cache })
    }

    /// What a step came to before, as long as that is still there.
    pub(crate) fn cached(&self, key: Digest) -> Option<CachedStep> {
        let bytes = read_small(&self.cache_path(key), ENTRY_LIMIT).ok()?;
        // One that cannot be understood is as good as none.
        let step: CachedStep = serde_json::from_slice(&bytes).ok()?;
        let there = step.layer.as_ref().is_none_or(|layer| {
            self.blob_path(layer.blob).is_file() && self.layer_path(layer.chain).is_dir()
        });
        (step.version == CachedStep::VERSION && there).then_some(step)
    }

    /// Keeps what a step came to.
    pub(crate) fn keep_step(&self, key: Digest, step: &CachedStep) -> Result<(), StoreError> {
        let path = self.cache_path(key);
        let json = serde_json::to_vec(step)
            .map_err(|source| StoreError::Damaged { path: path.clone(), source })?;
        Ok(file::write_atomically(&path, &json, &self.scratch())?)
    }

    /// Forgets what builds have made; their images stay. `None` when that is not
    /// possible because one is under way.
    ///
    /// # Errors
    ///
    /// When something cannot be removed.
    pub fn forget_builds(&self) -> Result<Option<usize>, StoreError> {
        if !self.root.is_dir() {
            return Ok(Some(0));
        }
        let path = self.root.join("cache.lock");
        let lock = file::lock(&path, FlockOperation::NonBlockingLockExclusive);
        let _lock = match lock {
            Ok(lock) => lock,
            Err(e) if e.source.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let mut forgotten = 0;
        for name in list_dir(&self.root.join("cache"))? {
            let path = self.root.join("cache").join(name);
            fs::remove_file(&path).map_err(FileError::on("remove", &path))?;
            forgotten += 1;
        }
        Ok(Some(forgotten))
    }

    /// The layers that the cache is made of.
    pub(super) fn cached_layers(&self) -> Result<Vec<BuiltLayer>, FileError> {
        let names = list_dir(&self.root.join("cache"))?;
        let keys =
            names.iter().filter_map(|name| Digest::from_hex(name.strip_suffix(".json")?).ok());
        Ok(keys.filter_map(|key| self.cached(key)?.layer).collect())
    }

    /// Removes what killed builds have left; returns how many.
    pub(super) fn clear_builds(&self) -> Result<usize, FileError> {
        let builds = self.root.join("builds");
        let mut cleared = 0;
        for name in list_dir(&builds)? {
            let dir = builds.join(name);
            if let Ok(lock) = File::open(dir.join(LOCK)) {
                let free = retry(|| {
                    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
                });
                if free.is_err() {
                    continue;
                }
            }
            crate::tree::remove_all(&dir)?;
            cleared += 1;
        }
        Ok(cleared)
    }

    fn cache_path(&self, key: Digest) -> PathBuf {
        self.root.join("cache").join(key.hex() + ".json")
    }
}
