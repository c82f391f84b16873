//! What is known of a sandbox on disk, so that any later process can find it.
//!
//! Each sandbox has a directory `<runtime root>/<id>` with:
//!
//! - `state.json`: its [`Record`], replaced atomically;
//! - `lock`: held with `flock(2)` by whoever owns the sandbox. The kernel drops
//!   the lock when the owner dies, however it dies, so a record without a held
//!   lock is garbage; a recycled process id can never be mistaken for the owner.
//!
//! Nothing here is synced to disk: the runtime root does not outlive a reboot,
//! and a rename is atomic against the death of a process without it.

mod config;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::{Isolation, Lifetime, SandboxId, pool};

/// Where a sandbox is in its life (runtime-spec, "State").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being built.
    Creating,
    /// Built; the workload has not been started.
    Created,
    /// The workload runs.
    Running,
    /// The workload has begun and is held where it was.
    Paused,
    /// The workload has exited.
    Stopped,
}

/// The content of `state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this format.
    pub version: u32,
    /// Name of the sandbox.
    pub id: SandboxId,
    /// Which wall.
    pub isolation: Isolation,
    /// Where it is in its life.
    pub status: Status,
    /// Whether it dies with its owner.
    pub lifetime: Lifetime,
    /// First process of the workload (container) or the monitor (microVM), in
    /// the host's pid namespace; `None` before it exists.
    pub pid: Option<i32>,
    /// Memory of its machine, bytes; of a container the host knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_bytes: Option<u64>,
}

impl Record {
    /// Version of the format this code writes.
    pub const VERSION: u32 = 1;

    /// A record for a sandbox that is about to be built.
    #[must_use]
    pub fn creating(id: &SandboxId, isolation: Isolation, lifetime: Lifetime) -> Self {
        Self {
            version: Self::VERSION,
            id: id.clone(),
            isolation,
            status: Status::Creating,
            lifetime,
            pid: None,
            machine_bytes: None,
        }
    }
}

/// Failure to keep or find a sandbox's state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// No record of that name.
    #[error("no sandbox called {0}")]
    NotFound(SandboxId),
    /// The name is taken.
    #[error("a sandbox called {0} exists already")]
    Exists(SandboxId),
    /// The process that kept a prepared sandbox alive was killed.
    #[error("the prepared sandbox {0} is no longer kept alive")]
    Lost(SandboxId),
    /// The record is not one of ours.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why it cannot be understood.
        #[source]
        source: serde_json::Error,
    },
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done: `create`, `read`, …
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

pub(crate) fn io_error(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> StateError {
    let path = path.to_owned();
    move |source| StateError::Io { action, path, source }
}

/// The default runtime root: `/run/bulkhead` for root, otherwise
/// `$XDG_RUNTIME_DIR/bulkhead`, or a directory of the user's in `/tmp` where
/// that is not set. `BULKHEAD_ROOT` overrides it.
#[must_use]
pub fn default_root() -> PathBuf {
    if let Some(root) = std::env::var_os("BULKHEAD_ROOT") {
        return root.into();
    }
    let user = nix::unistd::geteuid();
    if user.is_root() {
        return "/run/bulkhead".into();
    }
    std::env::var_os("XDG_RUNTIME_DIR").map_or_else(
        || format!("/tmp/bulkhead-{user}").into(),
        |dir| PathBuf::from(dir).join("bulkhead"),
    )
}

/// The directory of one sandbox under the runtime root.
///
/// Holds the sandbox's lock as long as it lives when it came from
/// [`StateDir::create`]; see the module documentation.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    lock: Option<File>,
}

impl StateDir {
    /// Makes the directory of a new sandbox, takes its lock and writes `record`.
    ///
    /// # Errors
    ///
    /// [`StateError::Exists`] when the name is taken, [`StateError::Io`] otherwise.
    pub fn create(root: &Path, record: &Record) -> Result<Self, StateError> {
        let path = root.join(&record.id);
        let _not_seen_half_made = lock_root(root, SHARED)?;
        fs::create_dir(&path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => StateError::Exists(record.id.clone()),
            _ => io_error("create", &path)(error),
        })?;
        let lock_path = path.join("lock");
        let file = File::create(&lock_path).map_err(io_error("create", &lock_path))?;
        lock(&file, FlockOperation::NonBlockingLockExclusive, &lock_path)?;
        let dir = Self { path, lock: Some(file) };
        dir.write(record)?;
        Ok(dir)
    }

    /// Opens the directory of an existing sandbox without taking its lock.
    ///
    /// # Errors
    ///
    /// [`StateError::NotFound`] when there is none.
    pub fn open(root: &Path, id: &SandboxId) -> Result<Self, StateError> {
        let path = root.join(id);
        if path.is_dir() {
            Ok(Self { path, lock: None })
        } else {
            Err(StateError::NotFound(id.clone()))
        }
    }

    /// Owns the sandbox, having been given its locked file.
    pub(crate) fn own(&mut self, lock: File) {
        self.lock = Some(lock);
    }

    /// The directory, for the runtime's own files (sockets, console log).
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The locked file, to be passed on to a process that is to own the sandbox.
    #[must_use]
    pub fn lock(&self) -> Option<&File> {
        self.lock.as_ref()
    }

    /// Leaves the sandbox to whoever was given the locked file.
    pub fn hand_over(&mut self) {
        self.lock = None;
    }

    /// Replaces the record atomically.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`] when it cannot be written.
    pub fn write(&self, record: &Record) -> Result<(), StateError> {
        let path = self.path.join("state.json");
        let fresh = self.path.join("state.json.new");
        let text = serde_json::to_vec(record)
            .map_err(|source| StateError::Damaged { path: path.clone(), source })?;
        fs::write(&fresh, text).map_err(io_error("write", &fresh))?;
        replace(&fresh, &path).map_err(io_error("rename to", &path))
    }

    /// Reads the record.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`] or [`StateError::Damaged`].
    pub fn read(&self) -> Result<Record, StateError> {
        let path = self.path.join("state.json");
        let text = fs::read(&path).map_err(io_error("read", &path))?;
        serde_json::from_slice(&text).map_err(|source| StateError::Damaged { path, source })
    }

    /// Whether a living process owns the sandbox.
    #[must_use]
    pub fn is_owned(&self) -> bool {
        if self.lock.is_some() {
            return true;
        }
        let Ok(file) = File::open(self.path.join("lock")) else { return false };
        flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
    }

    /// Removes the directory. Idempotent.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`] when something in it cannot be removed.
    pub fn remove(&self) -> Result<(), StateError> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error("remove", &self.path)(error))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        // Not left to the last copy of the descriptor: any child has one until it
        // executes something.
        if let Some(lock) = &self.lock {
            let _ = flock(lock, FlockOperation::Unlock);
        }
    }
}

/// Puts the file `fresh` in the place of `path`, atomically.
///
/// A plain rename over an existing file makes ext4 write the new one to disk at
/// once ("auto_da_alloc", Documentation/admin-guide/ext4.rst), milliseconds on
/// the way of every start. An exchange is as atomic and does not.
///
/// # Errors
///
/// What the kernel said.
pub fn replace(fresh: &Path, path: &Path) -> io::Result<()> {
    let exchange = RenameFlags::RENAME_EXCHANGE;
    match renameat2(AT_FDCWD, fresh, AT_FDCWD, path, exchange) {
        Ok(()) => fs::remove_file(fresh),
        // The first record of a sandbox, or a filesystem that cannot exchange.
        Err(Errno::ENOENT | Errno::EINVAL) => fs::rename(fresh, path),
        Err(errno) => Err(errno.into()),
    }
}

/// The names of all sandboxes under `root`, in order; none when `root` does not
/// exist.
///
/// # Errors
///
/// [`StateError::Io`] when `root` cannot be listed.
pub fn list(root: &Path) -> Result<Vec<SandboxId>, StateError> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(io_error("list", root))?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        let name = entry.map_err(io_error("list", root))?.file_name();
        if let Some(id) = name.to_str().and_then(|name| name.parse().ok()) {
            ids.push(id);
        }
    }
    ids.sort();
    Ok(ids)
}

/// The sandboxes under `root` that no living process owns and that were meant
/// to die with their owner: what a `kill -9` left, those on the way into the
/// [pool] or out of it included. A damaged or missing record comes as `None`.
///
/// # Errors
///
/// [`StateError::Io`] when `root` cannot be locked or listed.
pub fn abandoned(root: &Path) -> Result<Vec<(SandboxId, Option<Record>)>, StateError> {
    if !root.exists() {
        return Ok(Vec::new());
    }
    let _nothing_half_made = lock_root(root, FlockOperation::LockExclusive)?;
    let mut found = Vec::new();
    for id in list(root)? {
        let Ok(dir) = StateDir::open(root, &id) else { continue };
        let record = dir.read().ok();
        let outlives = record.as_ref().is_some_and(|r| r.lifetime == Lifetime::Detached);
        if (!outlives && !dir.is_owned()) || pool::is_stray(root, &id) {
            found.push((id, record));
        }
    }
    Ok(found)
}

/// How the root is locked by all but those who look for abandoned sandboxes.
pub(crate) const SHARED: FlockOperation = FlockOperation::LockShared;

/// Makes `root` if need be and locks it: shared while a sandbox's directory
/// comes into being, exclusively to look for abandoned ones.
pub(crate) fn lock_root(root: &Path, how: FlockOperation) -> Result<File, StateError> {
    let dir = match File::open(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(root).map_err(io_error("create", root))?;
            File::open(root)
        }
        other => other,
    }
    .map_err(io_error("open", root))?;
    lock(&dir, how, root)?;
    Ok(dir)
}

/// Locks `file`, found at `path`; the lock goes with the file.
fn lock(file: &File, how: FlockOperation, path: &Path) -> Result<(), StateError> {
    loop {
        match flock(file, how) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map_err(|errno| io_error("lock", path)(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests;
