//! The host's half of the conversation with the guest's PID 1.
//!
//! A [`Session`] carries one process: what to run goes in, output, signals and
//! an exit come back. It never blocks: [`Session::pump`] does what can be done
//! now, [`Session::event_fd`] polls readable when that is something.
//!
//! The guest is not trusted: every frame has a bound, every stream a window, and
//! what does not fit ends the session.

mod connect;
pub mod convert;
mod error;
mod fresh;
mod process;
mod readiness;
mod streams;

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bulkhead_guest::protocol::{
    Decoder, FromGuest, Hello, Hold, Kind, MAX_DATA, Output, ProtocolError, Start,
    TerminalSize, put, put_empty, put_raw,
};
use bulkhead_runtime::{Exit, Instant as HostInstant, Signal, Stdio};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::EpollFlags;

pub use connect::connect;
pub use error::SessionError;
pub use fresh::fresh;
pub(crate) use process::{command_of, resize};
use readiness::{Place, Readiness};
use streams::{Sink, Source, Taken};

/// Rounds of carrying in one [`Session::pump`]: enough to keep data flowing, few
/// enough to get back to signals and other sandboxes.
const ROUNDS: usize = 16;

/// Where a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The guest has not said anything yet.
    Silent,
    /// The guest waits for something to run.
    Ready,
    /// The process is being started.
    Starting,
    /// The process runs.
    Running,
    /// The process has ended; the last of its output is still to be written.
    Ending(Exit),
    /// The process has ended and its output is where it belongs.
    Ended(Exit),
    /// Over, without an exit.
    Broken,
}

/// Why [`Session::run_until`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// What was waited for is there.
    Done,
    /// The time is over.
    TimedOut,
    /// The descriptor with this index polls readable.
    Other(usize),
}

/// One process in the guest, from the host's side.
#[derive(Debug)]
pub struct Session {
    socket: UnixStream,
    readiness: Readiness,
    decoder: Decoder,
    /// Frames on their way to the guest.
    outbox: Vec<u8>,
    sent: usize,
    /// What is read from the guest or for it; `MAX_DATA` bytes.
    buffer: Vec<u8>,
    stdin: Source,
    stdout: Sink,
    stderr: Sink,
    state: State,
    /// What is being started, to name what fails.
    start: Option<Start>,
    first_output: Option<HostInstant>,
    /// The guest has stopped the process.
    held: bool,
    /// The process has a terminal.
    terminal: bool,
}

impl Session {
    /// A session over `socket`, a connection from or to the guest, for a process
    /// with `stdio` as its streams.
    ///
    /// # Errors
    ///
    /// When no descriptors are left.
    pub fn new(socket: UnixStream, stdio: Stdio) -> Result<Self, SessionError> {
        socket
            .set_nonblocking(true)
            .map_err(SessionError::io("prepare the connection to the guest"))?;
        let mut outbox = Vec::new();
        Hello::OURS.put(&mut outbox);
        let mut session = Self {
            socket,
            readiness: Readiness::new()?,
            decoder: Decoder::default(),
            outbox,
            sent: 0,
            buffer: vec![0; MAX_DATA],
            stdin: Source::new(stdio.stdin),
            stdout: Sink::new(Output::Stdout, stdio.stdout),
            stderr: Sink::new(Output::Stderr, stdio.stderr),
            state: State::Silent,
            start: None,
            first_output: None,
            held: false,
            terminal: false,
        };
        session.register()?;
        Ok(session)
    }

    /// Whether stdin can carry anything: it is not `/dev/null`.
    #[must_use]
    pub fn has_stdin(&self) -> bool {
        self.stdin.is_open()
    }

    /// Asks the guest to run `start`. It need not have said anything yet.
    ///
    /// # Errors
    ///
    /// [`SessionError::TooLong`] when it does not fit into a message.
    pub fn start(&mut self, start: Start) -> Result<(), SessionError> {
        put(&mut self.outbox, Kind::Start, &start).map_err(SessionError::TooLong)?;
        if !start.process.stdin {
            self.stdin.close();
        }
        self.terminal = start.process.terminal.is_some();
        self.start = Some(start);
        self.state = State::Starting;
        self.pump()
    }

    /// Sends `signal` to the process.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotRunning`] when there is none (any more).
    pub fn signal(&mut self, signal: Signal) -> Result<(), SessionError> {
        match self.state {
            State::Starting | State::Running => {}
            _ => return Err(SessionError::NotRunning),
        }
        let number = u8::try_from(signal.number()).unwrap_or(0);
        put(&mut self.outbox, Kind::Signal, &number).map_err(SessionError::Protocol)?;
        self.pump()
    }

    /// Whether the process has a terminal.
    #[must_use]
    pub fn has_terminal(&self) -> bool {
        self.terminal
    }

    /// Tells the process's terminal how much it shows.
    ///
    /// # Errors
    ///
    /// As [`Session::signal`].
    pub fn resize(&mut self, size: TerminalSize) -> Result<(), SessionError> {
        match self.state {
            State::Starting | State::Running => {}
            _ => return Err(SessionError::NotRunning),
        }
        put(&mut self.outbox, Kind::Resize, &size).map_err(SessionError::Protocol)?;
        self.pump()
    }

    /// Asks the guest to stop the process, and all that runs beside it, as soon as it
    /// is ready.
    ///
    /// # Errors
    ///
    /// As [`Session::pump`].
    pub fn hold(&mut self, until: Hold) -> Result<(), SessionError> {
        put(&mut self.outbox, Kind::Hold, &until).map_err(SessionError::Protocol)?;
        self.pump()
    }

    /// Whether the guest has stopped the process.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Whether anything came from the process's standard output.
    #[must_use]
    pub fn has_printed(&self) -> bool {
        self.stdout.has_received()
    }

    /// Where it is.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// How the process ended, once its output is where it belongs.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        match self.state {
            State::Ended(exit) => Some(exit),
            _ => None,
        }
    }

    /// When the first byte of output arrived.
    #[must_use]
    pub fn first_output(&self) -> Option<HostInstant> {
        self.first_output
    }

    /// A descriptor that polls readable when [`Session::pump`] has something to
    /// do, and for ever once the session is over.
    #[must_use]
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.readiness.as_fd()
    }

    /// Carries what can be carried without waiting.
    ///
    /// # Errors
    ///
    /// Once, when the session broke: the process could not be started, the
    /// guest is gone or does not keep to the protocol.
    pub fn pump(&mut self) -> Result<(), SessionError> {
        let mut busy = true;
        for _ in 0..ROUNDS {
            busy = match self.round() {
                Ok(busy) => busy,
                Err(error) => {
                    self.state = State::Broken;
                    self.readiness.raise(true)?;
                    return Err(error);
                }
            };
            if !busy {
                break;
            }
        }
        let over = matches!(self.state, State::Ended(_) | State::Broken);
        self.readiness.raise(busy || over)?;
        self.register()
    }

    /// Pumps until `done`, until `deadline`, or until one of `others` polls
    /// readable.
    ///
    /// # Errors
    ///
    /// As [`Session::pump`].
    pub fn run_until(
        &mut self,
        deadline: Option<Instant>,
        others: &[BorrowedFd<'_>],
        done: impl Fn(&Self) -> bool,
    ) -> Result<Wake, SessionError> {
        loop {
            self.pump()?;
            if done(self) {
                return Ok(Wake::Done);
            }
            let left =
                deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let all = std::iter::once(self.event_fd()).chain(others.iter().copied());
            let mut fds: Vec<_> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
            match poll(&mut fds, timeout(left)) {
                Ok(0) => return Ok(Wake::TimedOut),
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(SessionError::io("wait for the guest")(errno)),
            }
            if let Some(index) = fds[1..].iter().position(|fd| fd.any().unwrap_or(false)) {
                return Ok(Wake::Other(index));
            }
        }
    }

    /// One pass over all streams. True when anything moved.
    fn round(&mut self) -> Result<bool, SessionError> {
        if matches!(self.state, State::Ended(_) | State::Broken) {
            return Ok(false);
        }
        let mut moved = self.receive()?;
        for sink in [&mut self.stdout, &mut self.stderr] {
            moved |= sink.carry();
            if let Some(credit) = sink.grant() {
                put(&mut self.outbox, Kind::Credit, &credit).map_err(SessionError::Protocol)?;
            }
            if let Some(output) = sink.take_closed() {
                put(&mut self.outbox, Kind::CloseOutput, &output)
                    .map_err(SessionError::Protocol)?;
            }
        }
        if let State::Ending(exit) = self.state {
            if self.stdout.is_flushed() && self.stderr.is_flushed() {
                self.state = State::Ended(exit);
            }
            return Ok(moved);
        }
        if self.state == State::Running {
            moved |= self.feed();
        }
        self.flush()?;
        Ok(moved)
    }

    /// Sends stdin along.
    fn feed(&mut self) -> bool {
        match self.stdin.take(&mut self.buffer) {
            Taken::Nothing => return false,
            Taken::Bytes(count) => {
                put_raw(&mut self.outbox, Kind::Stdin, &self.buffer[..count]);
            }
            Taken::Ended => put_empty(&mut self.outbox, Kind::StdinEof),
        }
        true
    }

    /// Writes frames as far as the socket takes them.
    fn flush(&mut self) -> Result<(), SessionError> {
        while self.sent < self.outbox.len() {
            match self.socket.write(&self.outbox[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.outbox.drain(..self.sent);
                    self.sent = 0;
                    return Ok(());
                }
                // What the guest had to say before may still be there to read.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
                Err(error) => return Err(SessionError::io("write to the guest")(error)),
            }
        }
        self.outbox.clear();
        self.sent = 0;
        Ok(())
    }

    /// Reads once and acts on the frames. True when there was anything.
    fn receive(&mut self) -> Result<bool, SessionError> {
        if matches!(self.state, State::Ending(_)) {
            return Ok(false);
        }
        let count = match self.socket.read(&mut self.buffer) {
            Ok(0) => return Err(SessionError::Closed),
            Ok(count) => count,
            Err(error) => {
                return match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(false),
                    ErrorKind::ConnectionReset => Err(SessionError::Closed),
                    _ => Err(SessionError::io("read from the guest")(error)),
                };
            }
        };
        // Taken out for the time, because frames borrow from both.
        let mut decoder = std::mem::take(&mut self.decoder);
        let buffer = std::mem::take(&mut self.buffer);
        let outcome = self.understand(&mut decoder, &buffer[..count]);
        self.decoder = decoder;
        self.buffer = buffer;
        outcome.map(|()| true)
    }

    fn understand(
        &mut self,
        decoder: &mut Decoder,
        mut input: &[u8],
    ) -> Result<(), SessionError> {
        while let Some(frame) = decoder.next(&mut input).map_err(SessionError::Protocol)? {
            let kind = frame.kind;
            let message = FromGuest::parse(frame).map_err(SessionError::Protocol)?;
            let unexpected = || SessionError::Protocol(ProtocolError::Unexpected(kind));
            match (message, self.state) {
                (FromGuest::Hello(_), State::Silent) => self.state = State::Ready,
                (FromGuest::Hello(_), State::Starting) => {}
                (FromGuest::Started, State::Starting) => {
                    self.start = None;
                    self.state = State::Running;
                }
                (FromGuest::Failed(failure), State::Starting) => {
                    let start = self.start.take().ok_or_else(unexpected)?;
                    return Err(SessionError::from_failure(failure, &start));
                }
                (FromGuest::Output(output, bytes), State::Running) => {
                    self.first_output.get_or_insert_with(HostInstant::now);
                    let sink = match output {
                        Output::Stdout => &mut self.stdout,
                        Output::Stderr => &mut self.stderr,
                    };
                    sink.push(bytes).map_err(SessionError::Protocol)?;
                }
                (FromGuest::Credit(credit), State::Running) if credit.output.is_none() => {
                    self.stdin.grant(credit.bytes);
                }
                (FromGuest::Held, State::Running) => self.held = true,
                (FromGuest::Exited(exited), State::Running) => {
                    let exit = Exit::from_wait_status(exited.wait_status, exited.oom_killed)
                        .ok_or_else(unexpected)?;
                    self.state = State::Ending(exit);
                    // Lets the machine go while the last output is written.
                    let _ = self.socket.shutdown(Shutdown::Both);
                    return Ok(());
                }
                _ => return Err(unexpected()),
            }
        }
        Ok(())
    }

    /// Brings what is waited for up to date.
    fn register(&mut self) -> Result<(), SessionError> {
        let over = matches!(self.state, State::Ending(_) | State::Ended(_) | State::Broken);
        let mut events = EpollFlags::EPOLLIN;
        events.set(EpollFlags::EPOLLOUT, !self.outbox.is_empty());
        let socket = (!over).then(|| self.socket.as_fd());
        self.readiness.set(Place::Socket, socket, events)?;
        let stdin = self.stdin.wanted().filter(|_| self.state == State::Running);
        self.readiness.set(Place::Stdin, stdin, EpollFlags::EPOLLIN)?;
        self.readiness.set(Place::Stdout, self.stdout.wanted(), EpollFlags::EPOLLOUT)?;
        self.readiness.set(Place::Stderr, self.stderr.wanted(), EpollFlags::EPOLLOUT)
    }
}

/// Rounded up, so that a wait does not end before its time.
fn timeout(left: Option<Duration>) -> PollTimeout {
    left.map_or(PollTimeout::NONE, |left| {
        let whole = left + Duration::from_micros(999);
        PollTimeout::try_from(whole).unwrap_or(PollTimeout::MAX)
    })
}

#[cfg(test)]
mod tests;
