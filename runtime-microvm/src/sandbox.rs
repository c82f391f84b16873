//! A microVM in the hands of the process that made it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use bulkhead_guest::protocol::{EXEC_PORT, Start};
use bulkhead_runtime::Record;
use bulkhead_runtime::{
    Clock, Error, Exit, HostProcess, Role, Sandbox, SandboxId, Signal, StateDir, Status, Stdio,
    Timeline, Usage,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use oci_spec::runtime::Process;

use crate::accounting;
use crate::error::{MicroVmError, io_error, session_error, wall};
use crate::exec::Exec;
use crate::monitor::config::files;
use crate::monitor_process::{MachineEnd, MonitorProcess};
use crate::session::{Session, SessionError, State, Wake};
use crate::timeline::SharedTimeline;

/// What a new microVM is made of.
pub struct Parts {
    /// What is known of it on disk.
    pub record: Record,
    /// Its directory.
    pub dir: StateDir,
    /// Its monitor.
    pub monitor: MonitorProcess,
    /// Where the guest's PID 1 calls.
    pub listener: UnixListener,
    /// The workload's streams.
    pub stdio: Stdio,
    /// What to run.
    pub start: Start,
    /// The clocks the monitor stamps.
    pub shared: SharedTimeline,
    /// The clocks of this side.
    pub timeline: Timeline,
}

/// A microVM and its workload.
#[derive(Debug)]
pub struct MicroVm {
    record: Record,
    dir: StateDir,
    monitor: Option<MonitorProcess>,
    listener: UnixListener,
    /// What `start` needs; gone once it was called.
    waiting: Option<(Stdio, Start)>,
    session: Option<Session>,
    /// Readable when the session or the monitor has news.
    news: Epoll,
    shared: SharedTimeline,
    timeline: Timeline,
    exit: Option<Exit>,
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

impl MicroVm {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Result<Self, MicroVmError> {
        let news = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(io_error("make an epoll descriptor"))?;
        news.add(parts.monitor.event_fd(), EpollEvent::new(EpollFlags::EPOLLIN, 0))
            .map_err(io_error("watch the monitor"))?;
        Ok(Self {
            record: parts.record,
            dir: parts.dir,
            monitor: Some(parts.monitor),
            listener: parts.listener,
            waiting: Some((parts.stdio, parts.start)),
            session: None,
            news,
            shared: parts.shared,
            timeline: parts.timeline,
            exit: None,
        })
    }

    fn not_running(&self) -> Error {
        Error::NotRunning { id: self.record.id.clone() }
    }

    fn set_status(&mut self, status: Status) -> Result<(), Error> {
        self.record.status = status;
        Ok(self.dir.write(&self.record)?)
    }

    /// Waits for the guest's PID 1 to call.
    fn accept(&mut self, interrupt: Option<BorrowedFd<'_>>) -> Result<Accepted, Error> {
        const STEP: &str = "waiting for the guest";
        loop {
            let Some(monitor) = &mut self.monitor else { return Err(self.not_running()) };
            if let Some(end) = monitor.end(false, self.dir.path()).map_err(wall(STEP))? {
                return Err(wall(STEP)(premature(end)));
            }
            match self.listener.accept() {
                Ok((stream, _)) => return Ok(Accepted::Guest(stream)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(wall(STEP)(io_error("accept the guest")(error))),
            }
            let mut fds = vec![
                PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
                PollFd::new(monitor.event_fd(), PollFlags::POLLIN),
            ];
            fds.extend(interrupt.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(wall(STEP)(io_error("wait")(errno))),
            }
            if fds.get(2).is_some_and(|fd| fd.any().unwrap_or(false)) {
                return Ok(Accepted::Interrupt);
            }
        }
    }

    fn interrupted(&self) -> Error {
        Error::Interrupted { id: self.record.id.clone() }
    }

    /// A session that broke because the machine did: the machine's end says why.
    fn explain(&mut self, error: SessionError, step: &'static str, command: &str) -> Error {
        let broken = matches!(
            error,
            SessionError::Closed | SessionError::Io { .. } | SessionError::Protocol(_)
        );
        if let (true, Some(monitor)) = (broken, &mut self.monitor) {
            // The guest closes its connection a moment before its machine ends. A guest
            // that goes on without a session is not waited for.
            let mut fds = [PollFd::new(monitor.event_fd(), PollFlags::POLLIN)];
            let soon = PollTimeout::from(MACHINE_FOLLOWS_MS);
            if poll(&mut fds, soon).is_ok_and(|ready| ready > 0) {
                match monitor.end(false, self.dir.path()) {
                    Ok(Some(end)) => return wall(step)(premature(end)),
                    Err(error) => return wall(step)(error),
                    Ok(None) => {}
                }
            }
        }
        session_error(&self.record.id, command, step)(error)
    }

    fn observe(&mut self) -> Option<Exit> {
        let session = self.session.as_ref()?;
        if let Some(first) = session.first_output() {
            self.timeline.mark_at(Clock::FirstOutput, first);
        }
        if let Some(exit) = session.exit() {
            self.timeline.mark(Clock::ExitObserved);
            self.exit = Some(exit);
        }
        self.exit
    }
}

/// How long the end of the machine may come after that of the session,
/// milliseconds; where guest kernels are emulated, an exit takes a while.
const MACHINE_FOLLOWS_MS: u16 = 3_000;

enum Accepted {
    Guest(std::os::unix::net::UnixStream),
    Interrupt,
}

/// A machine that ended while it was needed.
fn premature(end: MachineEnd) -> MicroVmError {
    use crate::monitor::report::{FailureKind, GuestFailure};
    use crate::vcpu_loop::Ending;
    MicroVmError::Guest(match end {
        MachineEnd::Failed(failure) => failure,
        MachineEnd::PowerOff => {
            GuestFailure { kind: FailureKind::Ended(Ending::PowerOff), console: Vec::new() }
        }
    })
}

impl Sandbox for MicroVm {
    fn id(&self) -> &SandboxId {
        &self.record.id
    }

    fn start(&mut self, interrupt: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        const STEP: &str = "starting the workload";
        let stream = match self.accept(interrupt)? {
            Accepted::Guest(stream) => stream,
            Accepted::Interrupt => return Err(self.interrupted()),
        };
        let Some((stdio, mut start)) = self.waiting.take() else {
            return Err(self.not_running());
        };
        let command = command_of(&start);
        let mut session = Session::new(stream, stdio).map_err(session_error(
            &self.record.id,
            &command,
            STEP,
        ))?;
        start.process.stdin = session.has_stdin();
        let begun = session.start(start);
        let others: Vec<_> = interrupt.into_iter().collect();
        let started = begun.and_then(|()| {
            session.run_until(None, &others, |session| {
                !matches!(session.state(), State::Silent | State::Ready | State::Starting)
            })
        });
        match started {
            Ok(Wake::Done) => {}
            Ok(Wake::TimedOut | Wake::Other(_)) => return Err(self.interrupted()),
            Err(error) => return Err(self.explain(error, STEP, &command)),
        }
        self.news
            .add(session.event_fd(), EpollEvent::new(EpollFlags::EPOLLIN, 1))
            .map_err(|errno| wall(STEP)(io_error("watch the session")(errno)))?;
        self.session = Some(session);
        self.set_status(Status::Running)
    }

    fn exec(&mut self, process: &Process, stdio: Stdio) -> Result<Box<dyn Sandbox>, Error> {
        if self.session.is_none() || self.exit.is_some() {
            return Err(self.not_running());
        }
        let uds = self.dir.path().join(files::VSOCK);
        Ok(Box::new(Exec::start(&self.record.id, &uds, EXEC_PORT, process, stdio)?))
    }

    fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        let id = self.record.id.clone();
        match &mut self.session {
            Some(session) if self.exit.is_none() => {
                session.signal(signal).map_err(session_error(&id, "", "sending a signal"))
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
        // A machine that ends takes the connection with it, so that the session has
        // news as well; but one whose processor is stuck may not.
        let others: Vec<_> = self.monitor.iter().map(MonitorProcess::event_fd).collect();
        let woken = session.run_until(deadline, &others, |session| session.exit().is_some());
        match woken {
            Ok(Wake::Done | Wake::TimedOut) => {}
            // The exit may have been sent right before the end of the machine.
            Ok(Wake::Other(_)) => match session.pump() {
                Ok(()) if session.exit().is_some() => {}
                Ok(()) if matches!(session.state(), State::Ending(_)) => {
                    let flushed =
                        session.run_until(deadline, &[], |session| session.exit().is_some());
                    flushed.map_err(|error| self.explain(error, STEP, ""))?;
                }
                Ok(()) => return Err(self.explain(SessionError::Closed, STEP, "")),
                Err(error) => return Err(self.explain(error, STEP, "")),
            },
            Err(error) => return Err(self.explain(error, STEP, "")),
        }
        let exit = self.observe();
        if exit.is_some() {
            self.set_status(Status::Stopped)?;
        }
        Ok(exit)
    }

    fn usage(&self) -> Result<Usage, Error> {
        const STEP: &str = "accounting";
        let Some(monitor) = &self.monitor else { return Err(self.not_running()) };
        let mut usage = accounting::of_process(monitor.pid()).map_err(wall(STEP))?;
        usage.kvm = monitor.kvm_stats().map_err(wall(STEP))?;
        let counters = self.shared.counters();
        usage.kvm_at =
            counters.map(|(clock, values)| (clock, monitor.kvm_stats_of(&values))).collect();
        Ok(usage)
    }

    fn processes(&self) -> Result<Vec<HostProcess>, Error> {
        let monitor = self.monitor.as_ref();
        Ok(monitor
            .map(|it| HostProcess { pid: it.pid(), role: Role::Monitor })
            .into_iter()
            .collect())
    }

    fn timeline(&self) -> Timeline {
        let mut timeline = self.timeline;
        self.shared.copy_into(&mut timeline);
        timeline
    }

    fn delete(&mut self) -> Result<(), Error> {
        if let Some(mut monitor) = self.monitor.take() {
            monitor.kill().map_err(wall("ending the monitor"))?;
        }
        self.session = None;
        self.dir.remove()?;
        self.timeline.mark(Clock::Released);
        Ok(())
    }
}

impl Drop for MicroVm {
    fn drop(&mut self) {
        // What cannot be removed is left to `gc`.
        drop(self.delete());
    }
}
