//! A further process in a running microVM: a session over a connection of its
//! own.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use bulkhead_guest::protocol::EXEC_PORT;
use bulkhead_runtime::{
    Clock, Error, Exit, HostProcess, Isolation, Sandbox, SandboxId, Signal, Stdio,
    TerminalSize, Timeline, Usage,
};
use oci_spec::runtime::{LinuxResources, Process};

use crate::error::{session_error, wall};
use crate::monitor::config::files;
use crate::session::{self, Session, SessionError, Wake, command_of, connect, convert};

/// How long the guest may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A process that was added to a microVM. Dropping it ends the process, not
/// the microVM.
#[derive(Debug)]
pub struct Exec {
    id: SandboxId,
    session: Session,
    timeline: Timeline,
}

impl Exec {
    /// Connects to the guest of the sandbox in `dir` and starts `process` in it.
    pub fn start(
        id: &SandboxId,
        dir: &Path,
        process: &Process,
        stdio: Stdio,
    ) -> Result<Self, Error> {
        const STEP: &str = "starting a further process";
        let timeline = Timeline::starting_at(bulkhead_runtime::Instant::now());
        let deadline = Instant::now() + ANSWER_WITHIN;
        let start =
            convert::further(process, true).map_err(|error| wall(STEP)(error.into()))?;
        let command = command_of(&start);
        let failed = || session_error(id, &command, STEP);
        let stream = connect(&dir.join(files::VSOCK), EXEC_PORT, deadline).map_err(failed())?;
        let mut session = Session::new(stream, stdio).map_err(failed())?;
        let woken = session.launch(start, Some(deadline), None).map_err(failed())?;
        if woken != Wake::Done {
            return Err(failed()(SessionError::Refused));
        }
        let mut exec = Self { id: id.clone(), session, timeline };
        exec.timeline.mark(Clock::WorkloadExec);
        Ok(exec)
    }

    fn unsupported(what: &'static str) -> Error {
        Error::Unsupported { isolation: Isolation::MicroVm, what }
    }
}

impl Sandbox for Exec {
    fn id(&self) -> &SandboxId {
        &self.id
    }

    fn start(&mut self, _interrupt: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        // It was started by `exec`.
        Ok(())
    }

    fn exec(&mut self, _process: &Process, _stdio: Stdio) -> Result<Box<dyn Sandbox>, Error> {
        Err(Self::unsupported("exec in a process of exec"))
    }

    fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        self.session.signal(signal).map_err(session_error(&self.id, "", "sending a signal"))
    }

    fn pause(&mut self) -> Result<(), Error> {
        Err(Self::unsupported("pausing a single process"))
    }

    fn unpause(&mut self) -> Result<(), Error> {
        Err(Self::unsupported("pausing a single process"))
    }

    fn resize(&mut self, size: TerminalSize) -> Result<(), Error> {
        session::resize(&self.id, Some(&mut self.session), size)
    }

    fn update(&mut self, _resources: &LinuxResources) -> Result<(), Error> {
        Err(Self::unsupported("limits of a single process"))
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.session.event_fd()
    }

    fn wait(&mut self, timeout: Option<Duration>) -> Result<Option<Exit>, Error> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.session
            .run_until(deadline, &[], |session| session.exit().is_some())
            .map_err(session_error(&self.id, "", "waiting for a further process"))?;
        Ok(self.session.observe(&mut self.timeline))
    }

    fn usage(&self) -> Result<Usage, Error> {
        Err(Self::unsupported("accounting for a single process"))
    }

    fn processes(&self) -> Result<Vec<HostProcess>, Error> {
        // It lives in the guest only.
        Ok(Vec::new())
    }

    fn timeline(&self) -> Timeline {
        self.timeline
    }

    fn delete(&mut self) -> Result<(), Error> {
        // The connection's end, when this value is dropped, ends the process.
        Ok(())
    }
}
