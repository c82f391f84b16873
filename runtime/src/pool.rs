//! Sandboxes prepared ahead of the request for them.
//!
//! No daemon keeps them. A prepared sandbox is a directory `<root>/<id>` like any
//! other, whose lock is held by the process that keeps it alive: whatever holds a
//! container's namespaces, or the monitor of a paused microVM. Two files make it
//! one of the pool:
//!
//! - `<root>/.pool/<key>/<id>`, the offer. Whoever removes it has the sandbox, and
//!   the filesystem lets only one do so: a sandbox is used once.
//! - `<root>/<id>/prepared`, as long as it has no owner but its keeper.
//!
//! A prepared sandbox without an offer was on its way into the pool or out of it
//! when a process was killed; [`state::abandoned`](crate::state::abandoned) finds
//! it. Both ways are gone with the root's lock held shared, and the look for
//! abandoned sandboxes takes it exclusively: it sees none half-way.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::state::{self, StateDir, StateError, io_error, lock_root};
use crate::{Bundle, BundleError, Isolation, Rootfs, SandboxId};

/// Directory of the offers under the runtime root; no sandbox's name begins with
/// a dot.
const OFFERS: &str = ".pool";

/// In the directory of a prepared sandbox: the key under which it is offered.
const MARK: &str = "prepared";

/// What prepared sandboxes are alike in: everything that is fixed before their
/// process is known.
///
/// That is all of the bundle but the process, the host and domain name, the
/// seccomp filter and the annotations.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PoolKey(String);

impl PoolKey {
    /// The key of `bundle` behind this kind of wall. `made` tells apart what the wall
    /// makes ahead of the same bundle.
    ///
    /// # Errors
    ///
    /// [`BundleError::NotJson`].
    pub fn of(isolation: Isolation, bundle: &Bundle, made: &str) -> Result<Self, BundleError> {
        let mut spec = bundle.spec.clone();
        spec.set_process(None);
        spec.set_hostname(None);
        spec.set_domainname(None);
        spec.set_annotations(None);
        if let Some(linux) = spec.linux_mut() {
            linux.set_seccomp(None);
        }
        // By way of a value, whose maps are sorted.
        let spec = serde_json::to_value(&spec).map_err(BundleError::NotJson)?;
        let mut hash = Sha256::new();
        hash.update(isolation.as_str());
        hash.update([0]);
        hash.update(made);
        hash.update([0]);
        let (kind, paths) = match &bundle.rootfs {
            Rootfs::Layers(layers) => ("layers", layers.as_slice()),
            Rootfs::Disk(disk) => ("disk", std::slice::from_ref(disk)),
        };
        // A path has no null byte, so that no two lists run into the same text.
        for part in
            std::iter::once(kind.as_ref()).chain(paths.iter().map(|path| path.as_os_str()))
        {
            hash.update(part.as_encoded_bytes());
            hash.update([0]);
        }
        hash.update(spec.to_string());
        Ok(Self(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
    }
}

/// What is known of a prepared sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Its name.
    pub id: SandboxId,
    /// Which wall.
    pub isolation: Isolation,
    /// The image it was made of, as it was called.
    pub image: String,
    /// When it was made, seconds since 1970.
    pub made: u64,
}

impl Offer {
    /// An offer made now.
    #[must_use]
    pub fn now(id: &SandboxId, isolation: Isolation, image: &str) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let made = since.map_or(0, |time| time.as_secs());
        Self { id: id.clone(), isolation, image: image.to_owned(), made }
    }
}

/// The prepared sandboxes under a runtime root.
#[derive(Debug, Clone)]
pub struct Pool {
    root: PathBuf,
}

/// Leave to put a sandbox into the pool or take one out: while it lives, nobody
/// looks for abandoned ones.
#[derive(Debug)]
pub struct Passage(File);

impl Drop for Passage {
    fn drop(&mut self) {
        // Not left to the last copy of the descriptor: a container that was created
        // and not started has one.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// A prepared sandbox that has been taken out of the pool.
#[derive(Debug)]
pub struct Claim {
    id: SandboxId,
    key: PoolKey,
    root: PathBuf,
    _passage: Passage,
}

impl Pool {
    /// The pool under `root`.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Whether nothing was put into it, or all has been taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.root.join(OFFERS).exists()
    }

    /// Keeps whoever looks for abandoned sandboxes away.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`] when `root` cannot be made or locked.
    pub fn enter(&self) -> Result<Passage, StateError> {
        lock_root(&self.root, state::SHARED).map(Passage)
    }

    /// Marks a sandbox that is being prepared, before anything of it could outlive
    /// the caller.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`].
    pub fn mark(_: &Passage, dir: &StateDir, key: &PoolKey) -> Result<(), StateError> {
        let path = dir.path().join(MARK);
        fs::write(&path, &key.0).map_err(io_error("write", &path))
    }

    /// Puts a complete, marked sandbox into the pool.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`].
    pub fn offer(&self, _: &Passage, key: &PoolKey, offer: &Offer) -> Result<(), StateError> {
        let fresh = self.root.join(&offer.id).join("offer");
        let text = serde_json::to_vec(offer)
            .map_err(|source| StateError::Damaged { path: fresh.clone(), source })?;
        fs::write(&fresh, text).map_err(io_error("write", &fresh))?;
        let dir = offers(&self.root, key);
        let path = dir.join(&offer.id);
        loop {
            fs::create_dir_all(&dir).map_err(io_error("create", &dir))?;
            match fs::rename(&fresh, &path) {
                // Removed in between, having been empty.
                Err(error) if error.kind() == ErrorKind::NotFound && fresh.exists() => {}
                other => return other.map_err(io_error("create", &path)),
            }
        }
    }

    /// Takes one of the prepared sandboxes under `key`, whoever else wants it. Those
    /// that have lost their keeper are passed over and left to be collected.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`].
    pub fn claim(&self, key: &PoolKey) -> Result<Option<Claim>, StateError> {
        let offers = offers(&self.root, key);
        if !offers.exists() {
            return Ok(None);
        }
        let passage = self.enter()?;
        for id in state::list(&offers)? {
            if withdraw(&offers, &id)? && is_kept(&self.root, &id) {
                return Ok(Some(self.claimed(id, key.clone(), passage)));
            }
        }
        Ok(None)
    }

    /// Takes the prepared sandbox `id`; none when somebody else has.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`].
    pub fn claim_this(&self, id: &SandboxId) -> Result<Option<Claim>, StateError> {
        let Some(key) = marked(&self.root, id) else { return Ok(None) };
        let passage = self.enter()?;
        let withdrawn = withdraw(&offers(&self.root, &key), id)?;
        Ok(withdrawn.then(|| self.claimed(id.clone(), key, passage)))
    }

    fn claimed(&self, id: SandboxId, key: PoolKey, passage: Passage) -> Claim {
        Claim { id, key, root: self.root.clone(), _passage: passage }
    }

    /// Every offer whose sandbox is still kept, by the time it was made.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`] when the offers cannot be listed.
    pub fn list(&self) -> Result<Vec<Offer>, StateError> {
        let mut found = Vec::new();
        for dir in self.keys()? {
            found.extend(self.offered(&dir)?);
        }
        found.sort_by(|a, b| (a.made, &a.id).cmp(&(b.made, &b.id)));
        Ok(found)
    }

    /// How many prepared sandboxes wait under `key`.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`] when they cannot be listed.
    pub fn count(&self, key: &PoolKey) -> Result<usize, StateError> {
        Ok(self.offered(&offers(&self.root, key))?.len())
    }

    fn offered(&self, dir: &Path) -> Result<Vec<Offer>, StateError> {
        let kept = state::list(dir)?.into_iter().filter(|id| is_kept(&self.root, id));
        // One that is being taken at this moment is not there to be read.
        Ok(kept.filter_map(|id| read(&dir.join(id))).collect())
    }

    /// Forgets the offers of sandboxes that are no longer kept, and the directories
    /// of those that are gone.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`].
    pub fn sweep(&self) -> Result<(), StateError> {
        for dir in self.keys()? {
            for id in state::list(&dir)? {
                if !is_kept(&self.root, &id) {
                    withdraw(&dir, &id)?;
                }
            }
            remove_empty(&dir);
        }
        let _ = fs::remove_dir(self.root.join(OFFERS));
        Ok(())
    }

    fn keys(&self) -> Result<Vec<PathBuf>, StateError> {
        let dir = self.root.join(OFFERS);
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(io_error("list", &dir))?,
        };
        entries.map(|entry| Ok(entry.map_err(io_error("list", &dir))?.path())).collect()
    }
}

impl Claim {
    /// The sandbox's name.
    #[must_use]
    pub fn id(&self) -> &SandboxId {
        &self.id
    }

    /// The key it was offered under.
    #[must_use]
    pub fn key(&self) -> &PoolKey {
        &self.key
    }

    /// The sandbox's directory, still its keeper's.
    ///
    /// # Errors
    ///
    /// [`StateError::NotFound`].
    pub fn open(&self) -> Result<StateDir, StateError> {
        StateDir::open(&self.root, &self.id)
    }

    /// Makes the caller the owner of `dir`, whose locked file its keeper has passed on.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`].
    pub fn take_over(self, dir: &mut StateDir, lock: File) -> Result<(), StateError> {
        dir.own(lock);
        let path = dir.path().join(MARK);
        fs::remove_file(&path).map_err(io_error("remove", &path))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        remove_empty(&offers(&self.root, &self.key));
    }
}

/// Removes an offer; false when somebody else has.
fn withdraw(offers: &Path, id: &SandboxId) -> Result<bool, StateError> {
    let path = offers.join(id);
    match fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(io_error("remove", &path)(error)),
    }
}

/// Whether a process keeps the sandbox alive.
fn is_kept(root: &Path, id: &SandboxId) -> bool {
    StateDir::open(root, id).is_ok_and(|dir| dir.is_owned())
}

fn read(path: &Path) -> Option<Offer> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// The key a prepared sandbox is, or was, offered under.
fn marked(root: &Path, id: &SandboxId) -> Option<PoolKey> {
    fs::read_to_string(root.join(id).join(MARK)).ok().map(PoolKey)
}

/// Where sandboxes under `key` are offered.
fn offers(root: &Path, key: &PoolKey) -> PathBuf {
    root.join(OFFERS).join(&key.0)
}

/// Whether the sandbox was left half-way into the pool or out of it. The root is
/// locked exclusively.
pub(crate) fn is_stray(root: &Path, id: &SandboxId) -> bool {
    marked(root, id).is_some_and(|key| !offers(root, &key).join(id).exists())
}

/// Removes the directory of a key that has no more offers, and that of all keys
/// after the last one.
fn remove_empty(offers: &Path) {
    // One that is not empty stays, whoever filled it in the meantime.
    if fs::remove_dir(offers).is_ok()
        && let Some(all) = offers.parent()
    {
        let _ = fs::remove_dir(all);
    }
}

#[cfg(test)]
mod tests;
