//! Who may change networks, and who still lives.
//!
//! All locks are `flock(2)`'s: the kernel drops them with whoever holds them.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::{NetworkError, file};

/// One for the host, whatever the runtime root: bridges and ports are the host's.
const HOST: &str = "/run/bulkhead-network";

/// A locked file, unlocked when dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    handed_over: bool,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Not left to the last copy of the descriptor: a container that was created and
        // not started has one.
        if !self.handed_over {
            let _ = flock(&self.file, FlockOperation::Unlock);
        }
    }
}

impl Lock {
    /// Leave to change networks of this host; waits for whoever has it.
    pub(crate) fn host() -> Result<Self, NetworkError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(HOST);
        made.map_err(file("create", HOST))?;
        Self::wait(&Path::new(HOST).join("lock"))
    }

    /// The lock of `path`, which is made if need be; waits for whoever has it.
    pub(crate) fn wait(path: &Path) -> Result<Self, NetworkError> {
        let opened = open(path).map_err(file("open", path))?;
        retry(|| flock(&opened, FlockOperation::LockExclusive))
            .map_err(|errno| file("lock", path)(errno.into()))?;
        Ok(Self::of(opened))
    }

    fn of(file: File) -> Self {
        Self { file, handed_over: false }
    }

    /// The lock of `path`, which is made if need be; none when somebody holds it.
    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>, NetworkError> {
        let opened = open(path).map_err(file("open", path))?;
        match retry(|| flock(&opened, FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => Ok(Some(Self::of(opened))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(file("lock", path)(errno.into())),
        }
    }

    /// The locked file, to be handed to another process.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Leaves the lock to whoever was handed the file.
    pub(crate) fn hand_over(mut self) {
        self.handed_over = true;
    }
}

/// Whether a living process holds the lock of `path`.
pub(crate) fn is_held(path: &Path) -> bool {
    File::open(path).is_ok_and(|opened| is_held_of(&opened))
}

/// As [`is_held`], of an open file.
pub(crate) fn is_held_of(file: &File) -> bool {
    retry(|| flock(file, FlockOperation::NonBlockingLockShared)).is_err()
}

/// Waits until nobody holds the lock of `path`.
pub(crate) fn await_free(path: &Path) {
    if let Ok(opened) = File::open(path) {
        let _ = retry(|| flock(&opened, FlockOperation::LockShared));
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn retry(mut action: impl FnMut() -> Result<(), Errno>) -> Result<(), Errno> {
    loop {
        match action() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_one_holders() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("member");
        assert!(!is_held(&path), "nothing is there yet");
        let lock = Lock::try_take(&path).unwrap().unwrap();
        assert!(is_held(&path) && Lock::try_take(&path).unwrap().is_none());
        let copy = lock.file().try_clone().unwrap();
        lock.hand_over();
        assert!(is_held(&path), "the copy holds it");
        drop(copy);
        assert!(!is_held(&path));
    }
}
