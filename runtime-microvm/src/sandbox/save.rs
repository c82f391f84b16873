//! Saving a machine whose PID 1 waits for work, or whose application does.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bulkhead_guest::protocol::{Decoder, FromGuest, Hold, ProtocolError};
use bulkhead_runtime::{Error, Sandbox, Stdio};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use oci_spec::runtime::Process;

use super::{MicroVm, premature};
use crate::application::{Readiness, Ready};
use crate::error::{MicroVmError, io_error, wall};
use crate::monitor::report::SavedFiles;
use crate::saving::until_at_rest;
use crate::session::{Session, SessionError};

/// More than a greeting has.
const GREETING_MAX: usize = 64;

const STEP: &str = "saving the machine";

/// How often it is looked whether an application is ready, and how long a command that
/// says that it is not is left alone.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// What is told while an application gets ready.
#[derive(Clone, Copy)]
struct Watch<'a> {
    ready: &'a Readiness,
    deadline: Instant,
    interrupt: Option<BorrowedFd<'a>>,
}

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
        self.save_at_rest(memory, state)
    }

    /// Starts the application, waits until it is ready, stops it, and saves the
    /// machine. `process` is what it was started as, for what is run beside it.
    pub fn save_ready(
        &mut self,
        ready: &Readiness,
        process: &Process,
        [memory, state]: [&File; 2],
        interrupt: Option<BorrowedFd<'_>>,
    ) -> Result<SavedFiles, Error> {
        self.start(interrupt)?;
        let deadline = Instant::now() + ready.within;
        let watch = Watch { ready, deadline, interrupt };
        let until = match &ready.when {
            Ready::HandOver => Hold::HandOver,
            Ready::Port(port) => Hold::Port(*port),
            Ready::FirstOutput => {
                self.watch_until(watch, |it| Ok(it.session()?.has_printed()))?;
                Hold::Now
            }
            Ready::Command(command) => {
                while !self.agrees(watch, process, command)? {
                    let again = Instant::now() + ASK_AGAIN;
                    self.watch_until(watch, |_| Ok(Instant::now() >= again))?;
                }
                Hold::Now
            }
        };
        self.session()?.hold(until).map_err(|error| self.explain(error, STEP, ""))?;
        self.watch_until(watch, |it| Ok(it.session()?.is_held()))?;
        self.save_at_rest(memory, state)
    }

    /// Whether `command`, run beside the application, exits with 0.
    fn agrees(
        &mut self,
        watch: Watch<'_>,
        process: &Process,
        command: &str,
    ) -> Result<bool, Error> {
        let mut asked = process.clone();
        asked.set_args(Some(["/bin/sh", "-c", command].map(str::to_owned).into()));
        let null = Stdio::null().map_err(|e| wall(STEP)(io_error("open /dev/null")(e)))?;
        let mut asked = self.exec(&asked, null)?;
        let mut exit = None;
        self.watch_until(watch, |_| {
            exit = asked.wait(Some(Duration::ZERO))?;
            Ok(exit.is_some())
        })?;
        Ok(exit.is_some_and(|exit| exit.code() == 0))
    }

    /// Carries the application's streams until `done`, or until that cannot be any
    /// more.
    fn watch_until(
        &mut self,
        watch: Watch<'_>,
        mut done: impl FnMut(&mut Self) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let missing = || watch.ready.when.missing();
        loop {
            if let Some(exit) = self.wait(Some(LOOK_EVERY))? {
                let ended = MicroVmError::EndedEarly { code: exit.code(), missing: missing() };
                return Err(wall(STEP)(ended));
            }
            if done(self)? {
                return Ok(());
            }
            if Instant::now() > watch.deadline {
                let within = watch.ready.within;
                return Err(wall(STEP)(MicroVmError::NotReady { within, missing: missing() }));
            }
            if watch.interrupt.is_some_and(is_readable) {
                return Err(self.interrupted());
            }
        }
    }

    fn session(&mut self) -> Result<&mut Session, Error> {
        match &mut self.session {
            Some(session) => Ok(session),
            None => Err(Error::NotRunning { id: self.record.id.clone() }),
        }
    }

    fn save_at_rest(&mut self, memory: &File, state: &File) -> Result<SavedFiles, Error> {
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

fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
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
