//! A microVM of another monitor, in the hands of the process that made it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use bulkhead_guest::protocol::Start;
use bulkhead_runtime::{
    Clock, Error, Exit, HostProcess, Isolation, Sandbox, SandboxId, Signal, StateDir, Stdio,
    TerminalSize, Timeline, Usage,
};
use nix::poll::PollTimeout;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use oci_spec::runtime::{LinuxResources, Process};

use super::program::Processes;
use crate::accounting;
use crate::calling::{self, Call};
use crate::error::{MicroVmError, io_error, session_error, wall};
use crate::exec::Exec;
use crate::leftovers::open;
use crate::session::{self, Session, SessionError, Wake, command_of};

/// As our own monitor's for a kernel that is emulated, milliseconds, rounded to
/// what a slower machine of the same kind needs.
const BOOT_TIMEOUT_MS: u16 = 60_000;

/// What a new microVM is made of.
#[derive(Debug)]
pub struct Parts {
    pub id: SandboxId,
    pub dir: StateDir,
    pub processes: Processes,
    /// Where the guest's PID 1 calls.
    pub listener: UnixListener,
    pub stdio: Stdio,
    pub start: Start,
    pub timeline: Timeline,
}

/// A microVM and its workload.
#[derive(Debug)]
pub struct ForeignVm {
    id: SandboxId,
    dir: StateDir,
    processes: Option<Processes>,
    monitor: OwnedFd,
    listener: UnixListener,
    /// What `start` needs; gone once it was called.
    waiting: Option<(Stdio, Start)>,
    session: Option<Session>,
    /// Readable when the session or the monitor has news.
    news: Epoll,
    timeline: Timeline,
    exit: Option<Exit>,
}

impl ForeignVm {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Result<Self, MicroVmError> {
        let monitor = open(parts.processes.pid()).map_err(io_error("watch the monitor"))?;
        let news = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(io_error("make an epoll descriptor"))?;
        news.add(&monitor, EpollEvent::new(EpollFlags::EPOLLIN, 0))
            .map_err(io_error("watch the monitor"))?;
        Ok(Self {
            id: parts.id,
            dir: parts.dir,
            processes: Some(parts.processes),
            monitor,
            listener: parts.listener,
            waiting: Some((parts.stdio, parts.start)),
            session: None,
            news,
            timeline: parts.timeline,
            exit: None,
        })
    }

    fn not_running(&self) -> Error {
        Error::NotRunning { id: self.id.clone() }
    }

    /// Waits for the guest's PID 1 to call.
    fn accept(&mut self, interrupt: Option<BorrowedFd<'_>>) -> Result<UnixStream, Error> {
        const STEP: &str = "waiting for the guest";
        loop {
            let Some(processes) = &mut self.processes else { return Err(self.not_running()) };
            if let Some(death) = processes.death(self.dir.path()) {
                return Err(wall(STEP)(death));
            }
            // A guest that does not come up would be waited for without end.
            let timeout = PollTimeout::from(BOOT_TIMEOUT_MS);
            let call =
                calling::answer(&self.listener, self.monitor.as_fd(), interrupt, timeout);
            match call.map_err(wall(STEP))? {
                Call::Guest(stream) => return Ok(stream),
                Call::Machine => {}
                Call::Interrupt => return Err(Error::Interrupted { id: self.id.clone() }),
            }
        }
    }

    /// A session that broke because the monitor did: its end says why.
    fn explain(&mut self, error: SessionError, step: &'static str, command: &str) -> Error {
        if calling::is_by_machine(&error, self.monitor.as_fd())
            && let Some(processes) = &mut self.processes
            && let Some(death) = processes.death(self.dir.path())
        {
            return wall(step)(death);
        }
        session_error(&self.id, command, step)(error)
    }
}

impl Sandbox for ForeignVm {
    fn id(&self) -> &SandboxId {
        &self.id
    }

    fn start(&mut self, interrupt: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        const STEP: &str = "starting the workload";
        let stream = self.accept(interrupt)?;
        // PID 1 calls before anything else it does: nothing tells of it any earlier.
        self.timeline.mark(Clock::KernelDone);
        let Some((stdio, start)) = self.waiting.take() else {
            return Err(self.not_running());
        };
        let command = command_of(&start);
        let session = Session::new(stream, stdio);
        let mut session = session.map_err(session_error(&self.id, &command, STEP))?;
        match session.launch(start, None, interrupt) {
            Ok(Wake::Done) => self.timeline.mark(Clock::WorkloadExec),
            Ok(_) => return Err(Error::Interrupted { id: self.id.clone() }),
            Err(error) => return Err(self.explain(error, STEP, &command)),
        }
        self.news
            .add(session.event_fd(), EpollEvent::new(EpollFlags::EPOLLIN, 1))
            .map_err(|errno| wall(STEP)(io_error("watch the session")(errno)))?;
        self.session = Some(session);
        Ok(())
    }

    fn exec(&mut self, process: &Process, stdio: Stdio) -> Result<Box<dyn Sandbox>, Error> {
        if self.session.is_none() || self.exit.is_some() {
            return Err(self.not_running());
        }
        Ok(Box::new(Exec::start(&self.id, self.dir.path(), process, stdio)?))
    }

    fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        match &mut self.session {
            Some(session) if self.exit.is_none() => {
                session.signal(signal).map_err(session_error(&self.id, "", "sending a signal"))
            }
            _ => Err(self.not_running()),
        }
    }

    fn pause(&mut self) -> Result<(), Error> {
        Err(unsupported("pausing"))
    }

    fn unpause(&mut self) -> Result<(), Error> {
        Err(unsupported("unpausing"))
    }

    fn resize(&mut self, size: TerminalSize) -> Result<(), Error> {
        let (id, ended) = (&self.id, self.exit.is_some());
        session::resize(id, self.session.as_mut().filter(|_| !ended), size)
    }

    fn update(&mut self, _resources: &LinuxResources) -> Result<(), Error> {
        Err(unsupported("changing limits"))
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.news.0.as_fd()
    }

    fn wait(&mut self, timeout: Option<Duration>) -> Result<Option<Exit>, Error> {
        const STEP: &str = "waiting for the workload";
        if self.exit.is_some() {
            return Ok(self.exit);
        }
        let Some(session) = &mut self.session else { return Err(self.not_running()) };
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        // The session breaks when the monitor ends: vsock goes with it.
        match session.run_until(deadline, &[], |session| session.exit().is_some()) {
            Ok(_) => {}
            Err(error) => return Err(self.explain(error, STEP, "")),
        }
        self.exit = session.observe(&mut self.timeline);
        Ok(self.exit)
    }

    fn usage(&self) -> Result<Usage, Error> {
        let processes = self.processes.as_ref().ok_or_else(|| self.not_running())?;
        accounting::of_process(processes.pid()).map_err(wall("accounting"))
    }

    fn processes(&self) -> Result<Vec<HostProcess>, Error> {
        Ok(self.processes.as_ref().map(Processes::list).unwrap_or_default())
    }

    fn timeline(&self) -> Timeline {
        self.timeline
    }

    fn delete(&mut self) -> Result<(), Error> {
        self.session = None;
        if let Some(mut processes) = self.processes.take() {
            processes.kill();
        }
        self.dir.remove()?;
        self.timeline.mark(Clock::Released);
        Ok(())
    }
}

impl Drop for ForeignVm {
    fn drop(&mut self) {
        // What cannot be removed is left to `gc`.
        drop(self.delete());
    }
}

fn unsupported(what: &'static str) -> Error {
    Error::Unsupported { isolation: Isolation::MicroVm, what }
}
