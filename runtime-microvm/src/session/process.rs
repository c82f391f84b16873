//! The life of a session's process, as every sandbox goes through it: launched,
//! then observed.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use bulkhead_guest::protocol::Start;
use bulkhead_runtime::{Clock, Exit, Timeline};

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

/// The first argument of what is to be run, for error messages.
pub fn command_of(start: &Start) -> String {
    start
        .process
        .args
        .iter()
        .next()
        .map_or_else(String::new, |arg| arg.to_string_lossy().into())
}
