//! A microVM in the hands of the process that made it.

mod save;

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use bulkhead_guest::protocol::Start;
use bulkhead_runtime::Record;
use bulkhead_runtime::{
    Clock, Error, Exit, HostProcess, Role, Sandbox, SandboxId, Signal, StateDir, Status, Stdio,
    TerminalSize, Timeline, Usage,
};
use nix::poll::PollTimeout;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use oci_spec::runtime::{LinuxResources, Process};

use crate::accounting;
use crate::application::Resumption;
use crate::asking;
use crate::calling::{self, Call};
use crate::error::{MicroVmError, io_error, session_error, wall};
use crate::exec::Exec;
use crate::monitor_process::{MachineEnd, MonitorProcess};
use crate::session::{self, Session, SessionError, State, Wake, command_of, fresh};
use crate::snapshot::Snapshot;
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
    /// How its workload goes on, when it is there already.
    pub resumes: Option<Resumption>,
    /// The snapshot it goes on from, when it is the first to tell what it touches.
    pub to_record: Option<Snapshot>,
    /// For a machine that goes on from a snapshot: how long its guest may take to
    /// answer. It is not watched for a boot.
    pub answer_within: Option<Duration>,
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
    resumes: Option<Resumption>,
    to_record: Option<Snapshot>,
    answer_within: Option<Duration>,
    session: Option<Session>,
    /// Readable when the session or the monitor has news.
    news: Epoll,
    shared: SharedTimeline,
    timeline: Timeline,
    /// KVM's counters when the first output was there.
    at_first_output: Option<Vec<u64>>,
    exit: Option<Exit>,
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
            resumes: parts.resumes,
            to_record: parts.to_record,
            answer_within: parts.answer_within,
            session: None,
            news,
            shared: parts.shared,
            timeline: parts.timeline,
            at_first_output: None,
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
    fn accept(&mut self, interrupt: Option<BorrowedFd<'_>>) -> Result<UnixStream, Error> {
        const STEP: &str = "waiting for the guest";
        loop {
            let Some(monitor) = &mut self.monitor else { return Err(self.not_running()) };
            if let Some(end) = monitor.end(false, self.dir.path()).map_err(wall(STEP))? {
                return Err(wall(STEP)(premature(end)));
            }
            // The monitor's own watchdog ends a guest that does not call.
            let timeout = PollTimeout::NONE;
            let call = calling::answer(&self.listener, monitor.event_fd(), interrupt, timeout);
            match call.map_err(wall(STEP))? {
                Call::Guest(stream) => return Ok(stream),
                Call::Machine => {}
                Call::Interrupt => return Err(self.interrupted()),
            }
        }
    }

    /// From here on the workload runs.
    fn go_on(&mut self, session: Session, step: &'static str) -> Result<(), Error> {
        self.news
            .add(session.event_fd(), EpollEvent::new(EpollFlags::EPOLLIN, 1))
            .map_err(|errno| wall(step)(io_error("watch the session")(errno)))?;
        self.session = Some(session);
        self.set_status(Status::Running)
    }

    fn interrupted(&self) -> Error {
        Error::Interrupted { id: self.record.id.clone() }
    }

    /// A session that broke because the machine did: the machine's end says why.
    fn explain(&mut self, error: SessionError, step: &'static str, command: &str) -> Error {
        if let Some(monitor) = &mut self.monitor
            && calling::is_by_machine(&error, monitor.event_fd())
        {
            match monitor.end(false, self.dir.path()) {
                Ok(Some(end)) => return wall(step)(premature(end)),
                Err(error) => return wall(step)(error),
                Ok(None) => {}
            }
        }
        session_error(&self.record.id, command, step)(error)
    }
}

/// Keeps what the machine has touched until now with the snapshot it went on from, once.
/// What cannot be kept, because it is over already or the store is not ours to write to,
/// the next machine does without.
fn record(to_record: &mut Option<Snapshot>, monitor: Option<&MonitorProcess>) {
    if let (Some(snapshot), Some(monitor)) = (to_record.take(), monitor) {
        drop(snapshot.record_working_set(monitor.pid()));
    }
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
        let stream = self.accept(interrupt)?;
        let Some((stdio, mut start)) = self.waiting.take() else {
            return Err(self.not_running());
        };
        let command = command_of(&start);
        let failed = session_error(&self.record.id, &command, STEP);
        let fresh = || fresh().map_err(io_error("draw random bytes")).map_err(wall(STEP));
        if let Some(resumes) = self.resumes.take() {
            let stdin = resumes.stdin;
            let message = resumes.message(fresh()?, start);
            let session = Session::resumed(stream, stdio, &message, stdin).map_err(failed)?;
            return self.go_on(session, STEP);
        }
        let mut session = Session::new(stream, stdio).map_err(failed)?;
        let deadline = self.answer_within.and_then(|within| Instant::now().checked_add(within));
        if self.answer_within.is_some() {
            start.fresh = Some(fresh()?);
        }
        match session.launch(start, deadline, interrupt) {
            Ok(Wake::Done) => {}
            Ok(Wake::TimedOut) => {
                let seconds = self.answer_within.unwrap_or_default().as_secs();
                return Err(wall(STEP)(MicroVmError::NoAnswer { seconds }));
            }
            Ok(Wake::Other(_)) => return Err(self.interrupted()),
            Err(error) => return Err(self.explain(error, STEP, &command)),
        }
        record(&mut self.to_record, self.monitor.as_ref());
        self.go_on(session, STEP)
    }

    fn exec(&mut self, process: &Process, stdio: Stdio) -> Result<Box<dyn Sandbox>, Error> {
        if self.session.is_none() || self.exit.is_some() {
            return Err(self.not_running());
        }
        if asking::is_paused(&self.dir) {
            return Err(Error::Paused { id: self.record.id.clone() });
        }
        Ok(Box::new(Exec::start(&self.record.id, self.dir.path(), process, stdio)?))
    }

    fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        let id = self.record.id.clone();
        match &mut self.session {
            Some(session) if self.exit.is_none() => {
                session.signal(signal).map_err(session_error(&id, "", "sending a signal"))?;
            }
            _ => return Err(self.not_running()),
        }
        // Any other one waits for the machine to go on; this one is not to wait.
        if signal == Signal::KILL && asking::is_paused(&self.dir) {
            asking::unpause(&self.dir, &mut self.record)?;
        }
        Ok(())
    }

    fn pause(&mut self) -> Result<(), Error> {
        if self.session.is_none() || self.exit.is_some() {
            return Err(self.not_running());
        }
        asking::pause(&self.dir, &mut self.record)
    }

    fn unpause(&mut self) -> Result<(), Error> {
        if self.session.is_none() || self.exit.is_some() {
            return Err(self.not_running());
        }
        asking::unpause(&self.dir, &mut self.record)
    }

    fn resize(&mut self, size: TerminalSize) -> Result<(), Error> {
        let (id, ended) = (&self.record.id, self.exit.is_some());
        session::resize(id, self.session.as_mut().filter(|_| !ended), size)
    }

    fn update(&mut self, resources: &LinuxResources) -> Result<(), Error> {
        let monitor = self.monitor.as_ref().filter(|_| self.exit.is_none());
        let pid = monitor.map(MonitorProcess::pid).ok_or_else(|| self.not_running())?;
        asking::update(pid, resources)
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
        let exited = |session: &Session| session.exit().is_some();
        let spoken = |session: &Session| session.first_output().is_some();
        let counted = self.at_first_output.is_some();
        let mut woken = session.run_until(deadline, &others, |session| {
            exited(session) || (!counted && spoken(session))
        });
        if !counted && spoken(session) {
            // The output has been passed on: nobody waits for this.
            self.at_first_output = self.monitor.as_ref().and_then(MonitorProcess::kvm_values);
            record(&mut self.to_record, self.monitor.as_ref());
            if matches!(woken, Ok(Wake::Done)) {
                woken = session.run_until(deadline, &others, exited);
            }
        }
        match woken {
            Ok(Wake::Done | Wake::TimedOut) => {}
            // The exit may have been sent right before the end of the machine.
            Ok(Wake::Other(_)) => match session.pump() {
                Ok(()) if session.exit().is_some() => {}
                Ok(()) if matches!(session.state(), State::Ending(_)) => {
                    let flushed = session.run_until(deadline, &[], exited);
                    if let Err(error) = flushed {
                        return Err(self.explain(error, STEP, ""));
                    }
                }
                Ok(()) => return Err(self.explain(SessionError::Closed, STEP, "")),
                Err(error) => return Err(self.explain(error, STEP, "")),
            },
            Err(error) => return Err(self.explain(error, STEP, "")),
        }
        self.exit = session.observe(&mut self.timeline);
        if self.exit.is_some() {
            self.set_status(Status::Stopped)?;
        }
        Ok(self.exit)
    }

    fn usage(&self) -> Result<Usage, Error> {
        const STEP: &str = "accounting";
        let Some(monitor) = &self.monitor else { return Err(self.not_running()) };
        let mut usage = accounting::of_process(monitor.pid()).map_err(wall(STEP))?;
        usage.memory_limit_bytes = self.record.machine_bytes;
        usage.kvm = monitor.kvm_stats().map_err(wall(STEP))?;
        let at_first_output = self.at_first_output.clone();
        let counters = self
            .shared
            .counters()
            .chain(at_first_output.map(|values| (Clock::FirstOutput, values)));
        usage.kvm_at =
            counters.map(|(clock, values)| (clock, monitor.kvm_stats_of(&values))).collect();
        Ok(usage)
    }

    fn processes(&self) -> Result<Vec<HostProcess>, Error> {
        let Some(monitor) = &self.monitor else { return Ok(Vec::new()) };
        let files = monitor.files_pid().map(|pid| HostProcess { pid, role: Role::Helper });
        let monitor = HostProcess { pid: monitor.pid(), role: Role::Monitor };
        Ok([monitor].into_iter().chain(files).collect())
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
