//! A microVM of another monitor, in the hands of the process that made it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use bulkhead_guest::protocol::{EXEC_PORT, Start};
use bulkhead_runtime::{
    Clock, Error, Exit, HostProcess, Sandbox, SandboxId, Signal, StateDir, Stdio, Timeline,
    Usage,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use oci_spec::runtime::Process;

use super::io as failed;
use super::program::Processes;
use crate::accounting;
use crate::error::{MicroVmError, session_error, wall};
use crate::exec::Exec;
use crate::leftovers::open;
use crate::monitor::config::files;
use crate::sandbox::command_of;
use crate::session::{Session, SessionError, State, Wake};

/// How long the end of the monitor may come after that of the session.
const MONITOR_FOLLOWS_MS: u16 = 3_000;

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
        let monitor = open(parts.processes.pid()).map_err(failed("watch the monitor"))?;
        let news = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(|errno| failed("make an epoll descriptor")(errno.into()))?;
        news.add(&monitor, EpollEvent::new(EpollFlags::EPOLLIN, 0))
            .map_err(|errno| failed("watch the monitor")(errno.into()))?;
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
            match self.listener.accept() {
                Ok((stream, _)) => return Ok(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(wall(STEP)(failed("accept the guest")(error))),
            }
            let mut fds = vec![
                PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.monitor.as_fd(), PollFlags::POLLIN),
            ];
            fds.extend(interrupt.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            // A guest that does not come up would be waited for without end.
            match poll(&mut fds, PollTimeout::from(BOOT_TIMEOUT_MS)) {
                Ok(0) => {
                    return Err(wall(STEP)(failed("hear of the guest in time")(
                        io::ErrorKind::TimedOut.into(),
                    )));
                }
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(wall(STEP)(failed("wait")(errno.into()))),
            }
            if fds.get(2).is_some_and(|fd| fd.any().unwrap_or(false)) {
                return Err(Error::Interrupted { id: self.id.clone() });
            }
        }
    }

    /// A session that broke because the monitor did: its end says why.
    fn explain(&mut self, error: SessionError, step: &'static str, command: &str) -> Error {
        let mut fds = [PollFd::new(self.monitor.as_fd(), PollFlags::POLLIN)];
        let soon = PollTimeout::from(MONITOR_FOLLOWS_MS);
        let broken = matches!(
            error,
            SessionError::Closed | SessionError::Io { .. } | SessionError::Protocol(_)
        );
        if broken
            && poll(&mut fds, soon).is_ok_and(|ready| ready > 0)
            && let Some(processes) = &mut self.processes
            && let Some(death) = processes.death(self.dir.path())
        {
            return wall(step)(death);
        }
        session_error(&self.id, command, step)(error)
    }
}

/// As our own monitor's for a kernel that is emulated, milliseconds, rounded to
/// what a slower machine of the same kind needs.
const BOOT_TIMEOUT_MS: u16 = 60_000;

impl Sandbox for ForeignVm {
    fn id(&self) -> &SandboxId {
        &self.id
    }

    fn start(&mut self, interrupt: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        const STEP: &str = "starting the workload";
        let stream = self.accept(interrupt)?;
        // PID 1 calls before anything else it does: nothing tells of it any earlier.
        self.timeline.mark(Clock::KernelDone);
        let Some((stdio, mut start)) = self.waiting.take() else {
            return Err(self.not_running());
        };
        let command = command_of(&start);
        let session = Session::new(stream, stdio);
        let mut session = session.map_err(session_error(&self.id, &command, STEP))?;
        start.process.stdin = session.has_stdin();
        let begun = session.start(start);
        let others: Vec<_> = interrupt.into_iter().collect();
        let started = begun.and_then(|()| {
            session.run_until(None, &others, |session| {
                !matches!(session.state(), State::Silent | State::Ready | State::Starting)
            })
        });
        match started {
            Ok(Wake::Done) => self.timeline.mark(Clock::WorkloadExec),
            Ok(_) => return Err(Error::Interrupted { id: self.id.clone() }),
            Err(error) => return Err(self.explain(error, STEP, &command)),
        }
        self.news
            .add(session.event_fd(), EpollEvent::new(EpollFlags::EPOLLIN, 1))
            .map_err(|errno| wall(STEP)(failed("watch the session")(errno.into())))?;
        self.session = Some(session);
        Ok(())
    }

    fn exec(&mut self, process: &Process, stdio: Stdio) -> Result<Box<dyn Sandbox>, Error> {
        if self.session.is_none() || self.exit.is_some() {
            return Err(self.not_running());
        }
        let path = self.dir.path().join(files::VSOCK);
        Ok(Box::new(Exec::start(&self.id, &path, EXEC_PORT, process, stdio)?))
    }

    fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        match &mut self.session {
            Some(session) if self.exit.is_none() => {
                session.signal(signal).map_err(session_error(&self.id, "", "sending a signal"))
            }
            _ => Err(self.not_running()),
        }
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
        if let Some(first) = session.first_output() {
            self.timeline.mark_at(Clock::FirstOutput, first);
        }
        if let Some(exit) = session.exit() {
            self.timeline.mark(Clock::ExitObserved);
            self.exit = Some(exit);
        }
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
