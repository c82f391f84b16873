//! Saving a machine whose PID 1 waits for work.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use bulkhead_guest::protocol::{Decoder, FromGuest, ProtocolError};
use bulkhead_runtime::Error;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{MicroVm, premature};
use crate::error::{MicroVmError, io_error, wall};
use crate::monitor::report::SavedFiles;
use crate::saving::until_at_rest;
use crate::session::SessionError;

/// More than a greeting has.
const GREETING_MAX: usize = 64;

const STEP: &str = "saving the machine";

impl MicroVm {
    /// Waits until the guest's PID 1 waits for work and saves the machine: its memory
    /// to the one file, the rest of it to the other.
    ///
    /// Nothing is said to the guest, so that whoever goes on from here can begin the
    /// conversation.
    pub fn save_waiting(
        &mut self,
        memory: &File,
        state: &File,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> Result<SavedFiles, Error> {
        let mut stream = self.accept(interrupt)?;
        self.await_greeting(&mut stream, interrupt)?;
        let Some(monitor) = &mut self.monitor else { return Err(self.not_running()) };
        let dir = self.dir.path();
        until_at_rest(|| monitor.save(memory, state, dir)).map_err(wall(STEP))
    }

    fn await_greeting(
        &mut self,
        stream: &mut UnixStream,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> Result<(), Error> {
        stream.set_nonblocking(true).map_err(|e| wall(STEP)(io_error("use a socket")(e)))?;
        let (mut decoder, mut bytes) = (Decoder::default(), [0; GREETING_MAX]);
        loop {
            let Some(monitor) = &mut self.monitor else { return Err(self.not_running()) };
            if let Some(end) = monitor.end(false, self.dir.path()).map_err(wall(STEP))? {
                return Err(wall(STEP)(premature(end)));
            }
            match stream.read(&mut bytes) {
                Ok(0) => return Err(wall(STEP)(MicroVmError::Session(SessionError::Closed))),
                Ok(count) => {
                    if greeted(&mut decoder, &bytes[..count]).map_err(|error| {
                        wall(STEP)(MicroVmError::Session(SessionError::Protocol(error)))
                    })? {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(wall(STEP)(io_error("hear the guest")(error))),
            }
            let mut fds = vec![
                PollFd::new(stream.as_fd(), PollFlags::POLLIN),
                PollFd::new(monitor.event_fd(), PollFlags::POLLIN),
            ];
            fds.extend(interrupt.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(wall(STEP)(io_error("wait")(errno))),
            }
            if fds.get(2).is_some_and(|fd| fd.any().unwrap_or(false)) {
                return Err(self.interrupted());
            }
        }
    }
}

/// Whether the guest has said what it says first, and nothing else.
fn greeted(decoder: &mut Decoder, mut bytes: &[u8]) -> Result<bool, ProtocolError> {
    match decoder.next(&mut bytes)? {
        None => Ok(false),
        Some(frame) => {
            let kind = frame.kind;
            match FromGuest::parse(frame)? {
                FromGuest::Hello(_) if bytes.is_empty() => Ok(true),
                _ => Err(ProtocolError::Unexpected(kind)),
            }
        }
    }
}
