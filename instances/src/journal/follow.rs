//! Being told that something was written.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::{JournalError, io_error};

/// Changes in directories. What a directory does not tell, because it is on another
/// machine, say, shows itself when the time is over.
#[derive(Debug)]
pub struct Changes {
    watch: OwnedFd,
    first: PathBuf,
}

impl Changes {
    /// Watches `dirs`; those that do not exist are left out.
    ///
    /// # Errors
    ///
    /// When the kernel gives no more watches.
    pub fn of(dirs: &[&Path]) -> Result<Self, JournalError> {
        let first = dirs.first().map_or_else(PathBuf::new, |dir| (*dir).to_owned());
        let error = |errno: rustix::io::Errno| io_error("watch", &first)(errno.into());
        let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
        let watch = inotify::init(flags).map_err(error)?;
        for dir in dirs {
            let events = WatchFlags::MODIFY
                | WatchFlags::CREATE
                | WatchFlags::MOVED_TO
                | WatchFlags::DELETE;
            match inotify::add_watch(&watch, *dir, events) {
                Ok(_) | Err(rustix::io::Errno::NOENT) => {}
                Err(errno) => return Err(io_error("watch", dir)(errno.into())),
            }
        }
        Ok(Self { watch, first })
    }

    /// Waits for a change, `limit` at most.
    ///
    /// # Errors
    ///
    /// When waiting fails.
    pub fn wait(&self, limit: Duration) -> Result<(), JournalError> {
        let mut fds = [PollFd::new(self.watch.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(io_error("watch", &self.first)(errno.into())),
        }
        let mut seen = [0_u8; 4096];
        loop {
            match rustix::io::read(&self.watch, &mut seen) {
                Ok(count) if count == seen.len() => {}
                Ok(_) | Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(errno) => {
                    let error: io::Error = errno.into();
                    return Err(io_error("watch", &self.first)(error));
                }
            }
        }
    }
}
