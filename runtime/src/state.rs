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

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, Flock, FlockArg, RenameFlags, renameat2};
use serde::{Deserialize, Serialize};

use crate::{Isolation, Lifetime, SandboxId};

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

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
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
    lock: Option<Flock<File>>,
}

impl StateDir {
    /// Makes the directory of a new sandbox, takes its lock and writes `record`.
    ///
    /// # Errors
    ///
    /// [`StateError::Exists`] when the name is taken, [`StateError::Io`] otherwise.
    pub fn create(root: &Path, record: &Record) -> Result<Self, StateError> {
        let path = root.join(&record.id);
        let _not_seen_half_made = lock_root(root, FlockArg::LockShared)?;
        fs::create_dir(&path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => StateError::Exists(record.id.clone()),
            _ => io_error("create", &path)(error),
        })?;
        let lock_path = path.join("lock");
        let file = File::create(&lock_path).map_err(io_error("create", &lock_path))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| io_error("lock", &lock_path)(errno.into()))?;
        let dir = Self { path, lock: Some(lock) };
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

    /// The directory, for the runtime's own files (sockets, console log).
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The locked file, to be passed on to the process that takes over the
    /// ownership of a detached sandbox.
    #[must_use]
    pub fn lock(&self) -> Option<&File> {
        self.lock.as_deref()
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
        Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err()
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

/// Puts the file `fresh` in the place of `path`, atomically.
///
/// A plain rename over an existing file makes ext4 write the new one to disk at
/// once ("auto_da_alloc", Documentation/admin-guide/ext4.rst), milliseconds on
/// the way of every start. An exchange is as atomic and does not.
fn replace(fresh: &Path, path: &Path) -> io::Result<()> {
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
/// to die with their owner: what a `kill -9` left. A damaged or missing record
/// comes as `None`.
///
/// # Errors
///
/// [`StateError::Io`] when `root` cannot be locked or listed.
pub fn abandoned(root: &Path) -> Result<Vec<(SandboxId, Option<Record>)>, StateError> {
    if !root.exists() {
        return Ok(Vec::new());
    }
    let _nothing_half_made = lock_root(root, FlockArg::LockExclusive)?;
    let mut found = Vec::new();
    for id in list(root)? {
        let Ok(dir) = StateDir::open(root, &id) else { continue };
        let record = dir.read().ok();
        let outlives = record.as_ref().is_some_and(|r| r.lifetime == Lifetime::Detached);
        if !outlives && !dir.is_owned() {
            found.push((id, record));
        }
    }
    Ok(found)
}

/// Makes `root` if need be and locks it: shared while a sandbox's directory
/// comes into being, exclusively to look for abandoned ones.
fn lock_root(root: &Path, how: FlockArg) -> Result<Flock<File>, StateError> {
    let dir = match File::open(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(root).map_err(io_error("create", root))?;
            File::open(root)
        }
        other => other,
    }
    .map_err(io_error("open", root))?;
    Flock::lock(dir, how).map_err(|(_, errno)| io_error("lock", root)(errno.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str) -> Record {
        Record::creating(&name.parse().unwrap(), Isolation::Container, Lifetime::Attached)
    }

    #[test]
    fn a_record_survives_the_round_trip_and_its_owner_is_seen() {
        let root = tempfile::tempdir().unwrap();
        let written = record("web");
        let owner = StateDir::create(root.path(), &written).unwrap();
        let visitor = StateDir::open(root.path(), &written.id).unwrap();
        assert_eq!(visitor.read().unwrap(), written);
        assert!(visitor.is_owned());
        drop(owner);
        assert!(!visitor.is_owned());
        assert_eq!(list(root.path()).unwrap(), [written.id]);
        visitor.remove().unwrap();
        visitor.remove().unwrap();
        assert!(list(root.path()).unwrap().is_empty());
    }

    #[test]
    fn a_name_is_taken_once() {
        let root = tempfile::tempdir().unwrap();
        let _owner = StateDir::create(root.path(), &record("web")).unwrap();
        let again = StateDir::create(root.path(), &record("web"));
        assert!(matches!(again, Err(StateError::Exists(_))));
    }

    #[test]
    fn a_damaged_record_is_said_to_be_damaged() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::create(root.path(), &record("web")).unwrap();
        fs::write(dir.path().join("state.json"), b"{\"version\":").unwrap();
        assert!(matches!(dir.read(), Err(StateError::Damaged { .. })));
    }

    #[test]
    fn only_what_lost_its_owner_is_abandoned() {
        let root = tempfile::tempdir().unwrap();
        let owned = StateDir::create(root.path(), &record("owned")).unwrap();
        drop(StateDir::create(root.path(), &record("left")).unwrap());
        let detached = Record { lifetime: Lifetime::Detached, ..record("detached") };
        drop(StateDir::create(root.path(), &detached).unwrap());
        fs::create_dir(root.path().join("empty")).unwrap();
        let found: Vec<_> =
            abandoned(root.path()).unwrap().into_iter().map(|(id, _)| id.to_string()).collect();
        assert_eq!(found, ["empty", "left"]);
        drop(owned);
    }

    #[test]
    fn a_missing_root_lists_nothing() {
        assert!(abandoned(Path::new("/nonexistent/bulkhead")).unwrap().is_empty());
        assert!(list(Path::new("/nonexistent/bulkhead")).unwrap().is_empty());
    }
}
