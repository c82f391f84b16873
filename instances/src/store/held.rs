//! An instance in the hands of the one process that takes care of it.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};

use super::{HEALTH, Instance, STATE, StoreError, io_error, read, write};
use crate::health::Health;
use crate::{Phase, State, Timestamp};

const LOCK: &str = "lock";

/// An instance that nobody else starts, removes or notes something about.
///
/// The lock goes with the open file, and so to a child process that is given a copy of it.
#[derive(Debug)]
pub struct Held {
    /// The instance.
    pub instance: Instance,
    lock: File,
}

impl Held {
    pub(super) fn new(instance: Instance, lock: File) -> Self {
        Self { instance, lock }
    }

    /// Takes the lock of the instance in `dir`.
    pub(super) fn take(dir: &Path) -> Result<File, StoreError> {
        let path = dir.join(LOCK);
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(io_error("open", &path))?;
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole_file())) {
            Ok(_) => Ok(file),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => {
                Err(io_error("lock", &path)(io::Error::from(ErrorKind::WouldBlock)))
            }
            Err(errno) => Err(io_error("lock", &path)(errno)),
        }
    }

    /// The lock, to be given to a process that is to take care of the instance.
    #[must_use]
    pub fn lock(&self) -> &File {
        &self.lock
    }

    /// Notes what the instance is now.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn note(&mut self, change: impl FnOnce(&mut State)) -> Result<(), StoreError> {
        change(&mut self.instance.state);
        write(&self.instance.dir.join(STATE), &self.instance.state)
    }

    /// Notes what its health checks said.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn note_health(&self, health: &Health) -> Result<(), StoreError> {
        write(&self.instance.dir.join(HEALTH), health)
    }

    /// Takes in what others may change: its name.
    pub fn refresh(&mut self) {
        if let Ok(config) = read(&self.instance.dir.join(super::CONFIG)) {
            self.instance.config = config;
        }
    }

    /// Notes the end of an instance whose supervisor was killed: its sandbox was, too.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn settle(&mut self) -> Result<(), StoreError> {
        if !self.instance.state.phase.needs_supervisor() {
            return Ok(());
        }
        self.note(|state| {
            state.phase = Phase::Exited;
            state.finished = Some(Timestamp::now());
            state.exit_code = Some(137);
            state.error = Some("its supervisor was killed".to_owned());
            (state.supervisor, state.pid) = (None, None);
        })
    }
}

/// Whether a living process takes care of the instance in `dir`. Asking takes no lock.
pub(super) fn is_held(dir: &Path) -> bool {
    let Ok(file) = File::open(dir.join(LOCK)) else { return false };
    let mut lock = whole_file();
    let asked = fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock));
    asked.is_ok() && i32::from(lock.l_type) != libc::F_UNLCK
}

fn whole_file() -> libc::flock {
    let (kind, whence) = (libc::F_WRLCK, libc::SEEK_SET);
    libc::flock {
        // Constants that fit (fcntl.h).
        l_type: i16::try_from(kind).unwrap_or_default(),
        l_whence: i16::try_from(whence).unwrap_or_default(),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}
