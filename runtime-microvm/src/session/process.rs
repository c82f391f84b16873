//! The life of a session's process, as every sandbox goes through it: launched,
//! then observed.

use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use bulkhead_guest::protocol::{Kind, Resume, Start, TerminalSize, put, put_empty};
use bulkhead_runtime::{
    self as seam, Clock, Error, Exit, Isolation, SandboxId, Stdio, Timeline,
};

use crate::error::session_error;

use super::{Session, SessionError, State, Wake};

impl Session {
    /// Has the guest run `start`, standard input as this session has it, and
    /// waits until it runs: [`Wake::Done`].
    ///
    /// # Errors
    ///
    /// As [`Session::start`] and [`Session::pump`].
    pub fn launch(
        &mut self,
        mut start: Start,
        deadline: Option<Instant>,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> Result<Wake, SessionError> {
        start.process.stdin = self.has_stdin();
        self.start(start)?;
        let others: Vec<_> = interrupt.into_iter().collect();
        self.run_until(deadline, &others, |session| {
            !matches!(session.state(), State::Silent | State::Ready | State::Starting)
        })
    }

    /// The session of a process that is there already, in a machine that goes on from
    /// a snapshot. Its output comes here from now on; its stdin does too, or else ends.
    ///
    /// # Errors
    ///
    /// When no descriptors are left.
    pub fn resumed(
        socket: UnixStream,
        stdio: Stdio,
        resume: &Resume,
        stdin: bool,
    ) -> Result<Self, SessionError> {
        let mut session = Self::new(socket, stdio)?;
        // The greeting is said once, and was, to the host the machine was saved on.
        session.outbox.clear();
        put(&mut session.outbox, Kind::Refresh, resume).map_err(SessionError::TooLong)?;
        if !stdin || !session.has_stdin() {
            put_empty(&mut session.outbox, Kind::StdinEof);
            session.stdin.close();
        }
        session.state = State::Running;
        session.pump()?;
        Ok(session)
    }

    /// Stamps on `timeline` what the process has done, and says how it ended if
    /// it has.
    pub fn observe(&self, timeline: &mut Timeline) -> Option<Exit> {
        if let Some(first) = self.first_output() {
            timeline.mark_at(Clock::FirstOutput, first);
        }
        let exit = self.exit();
        if exit.is_some() {
            timeline.mark(Clock::ExitObserved);
        }
        exit
    }
}

/// Tells the terminal of the process in `session`, if there is one, how much it shows.
pub fn resize(
    id: &SandboxId,
    session: Option<&mut Session>,
    size: seam::TerminalSize,
) -> Result<(), Error> {
    let session = session.ok_or_else(|| Error::NotRunning { id: id.clone() })?;
    if !session.has_terminal() {
        let what = "resizing a terminal that is not there";
        return Err(Error::Unsupported { isolation: Isolation::MicroVm, what });
    }
    let size = TerminalSize { columns: size.columns, rows: size.rows };
    session.resize(size).map_err(session_error(id, "", "resizing the terminal"))
}

/// The first argument of what is to be run, for error messages.
pub fn command_of(start: &Start) -> String {
    start
        .process
        .args
        .iter()
        .next()
        .map_or_else(String::new, |arg| arg.to_string_lossy().into())
}
