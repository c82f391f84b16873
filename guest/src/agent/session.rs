//! One connection, one process.

use alloc::vec::Vec;
use core::ffi::{c_int, c_short};

use super::device::Device;
use super::hold::{self, Scope, Waiting};
use super::network;
use super::oom;
use super::sandbox;
use super::spawn::{self, Spawned, Streams, failed};
use super::streams::{Outbox, OutputPipe, StdinPipe};
use super::sys::{self, Clone, Errno, Fd};
use crate::protocol::{
    Decoder, Exited, Failure, Fresh, FromHost, Hello, Kind, Output, ProtocolError, Resume,
    Start, Step, put, put_empty,
};
use crate::timer::Milestone;

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The host closed the connection.
    Closed,
    /// The connection could not be made.
    Unconnected(Errno),
    /// The connection broke.
    Broken(Errno),
    /// The host does not speak this protocol.
    Protocol(ProtocolError),
    /// The machine could not be made one of its own, so it must not go on.
    Stale(Errno),
}

/// What the agent has to know of a session's progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The process has been exec'ed.
    Started,
    /// The process has ended.
    Exited,
    /// The process is stopped, to be saved.
    Held,
}

/// Descriptors of one session in the poll set, by [`Slot`].
pub const SLOTS: usize = 5;

/// Places in a session's part of the poll set.
enum Slot {
    Socket,
    Process,
    Stdin,
    Stdout,
    Stderr,
}

/// A process with its streams.
#[derive(Debug)]
struct Running {
    child: Clone,
    stdin: StdinPipe,
    stdout: OutputPipe,
    stderr: OutputPipe,
    /// Our end of its terminal, if it has one.
    terminal: Option<Fd>,
    /// How it ended, until that has been reported behind its last output.
    exited: Option<Exited>,
}

#[derive(Debug)]
enum Phase {
    /// The connection is not there yet.
    Connecting,
    /// Waiting for a [`Start`].
    Idle,
    Running(Running),
    /// Everything has been said; the host closes.
    Over,
}

/// A connection to the host.
#[derive(Debug)]
pub struct Session {
    socket: Fd,
    decoder: Decoder,
    outbox: Outbox,
    phase: Phase,
    device: Device,
    scope: Scope,
    /// What the process is to be ready for before it is held.
    waiting: Option<Waiting>,
    /// What is in `scope` is stopped.
    held: bool,
}

impl Session {
    /// A session over `socket`, which does not block and may still be
    /// connecting. Its process's milestones go to `device`; with it, all in `scope` is
    /// held.
    pub fn new(socket: Fd, device: Device, scope: Scope) -> Self {
        let mut outbox = Outbox::new();
        Hello::OURS.put(outbox.frames());
        Self {
            socket,
            decoder: Decoder::default(),
            outbox,
            phase: Phase::Connecting,
            device,
            scope,
            waiting: None,
            held: false,
        }
    }

    /// Whether it looks from time to time if its process is ready.
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some() && !self.held
    }

    /// Fills in what to wait for.
    pub fn interest(&self, fds: &mut [libc::pollfd; SLOTS]) {
        let mut want = |slot: Slot, fd: Option<&Fd>, events: c_short| {
            // A negative descriptor is left out (poll(2)).
            let fd = fd.map_or(-1, Fd::raw);
            fds[slot as usize] = libc::pollfd { fd, events, revents: 0 };
        };
        let out = if self.outbox.is_empty() { 0 } else { libc::POLLOUT };
        let input = if matches!(self.phase, Phase::Connecting) { 0 } else { libc::POLLIN };
        want(Slot::Socket, Some(&self.socket), input | out);
        let running = match &self.phase {
            Phase::Running(running) => Some(running),
            _ => None,
        };
        let alive = running.filter(|running| running.exited.is_none());
        want(Slot::Process, alive.map(|running| &running.child.pidfd), libc::POLLIN);
        want(Slot::Stdin, alive.and_then(|running| running.stdin.wanted()), libc::POLLOUT);
        let stdout = running.and_then(|running| running.stdout.wanted(&self.outbox));
        want(Slot::Stdout, stdout, libc::POLLIN);
        let stderr = running.and_then(|running| running.stderr.wanted(&self.outbox));
        want(Slot::Stderr, stderr, libc::POLLIN);
    }

    /// Acts on what poll has found. `input` is a buffer to read into;
    /// `joinable` says whether there is a workload that runs.
    pub fn advance(
        &mut self,
        fds: &[libc::pollfd; SLOTS],
        input: &mut Vec<u8>,
        joinable: bool,
    ) -> Result<Option<Event>, End> {
        let ready = |slot: Slot| fds[slot as usize].revents != 0;
        let socket = fds[Slot::Socket as usize].revents;
        let mut event = None;
        if socket != 0 && matches!(self.phase, Phase::Connecting) {
            sys::pending_error(&self.socket).map_err(End::Unconnected)?;
            self.phase = Phase::Idle;
        }
        if socket & (libc::POLLIN | libc::POLLHUP | libc::POLLERR) != 0 {
            event = self.receive(input, joinable)?;
        }
        if let Phase::Running(running) = &mut self.phase {
            if ready(Slot::Stdin) {
                running.stdin.carry();
            }
            running.stdin.grant(&mut self.outbox);
            if ready(Slot::Stdout) {
                running.stdout.carry(&mut self.outbox);
            }
            if ready(Slot::Stderr) {
                running.stderr.carry(&mut self.outbox);
            }
            if ready(Slot::Process) && running.reap() {
                self.device.reached(Milestone::WorkloadExit);
                event = Some(Event::Exited);
            }
            if running.report(&mut self.outbox) {
                self.waiting = None;
                self.phase = Phase::Over;
            }
        }
        if self.hold()? {
            event = Some(Event::Held);
        }
        if !matches!(self.phase, Phase::Connecting) {
            self.outbox.flush(&self.socket).map_err(End::Broken)?;
        }
        Ok(event)
    }

    /// Kills the process, if it still runs, and reaps it.
    pub fn kill(&mut self) {
        if let Phase::Running(running) = &mut self.phase
            && running.exited.is_none()
        {
            let _ = sys::kill(running.child.pid, libc::SIGKILL);
            let _ = sys::wait(running.child.pid, 0);
        }
        self.phase = Phase::Over;
    }

    /// Does what a machine from a snapshot has to do first.
    fn refresh(&self, fresh: &Fresh) -> Result<(), Failure> {
        self.scope.refresh(fresh)?;
        self.device.reached(Milestone::Refreshed);
        Ok(())
    }

    /// Goes on with the process of a machine from a snapshot.
    fn resume(&mut self, resume: &Resume) -> Result<(), Failure> {
        self.refresh(&resume.fresh)?;
        if let Some(name) = &resume.hostname {
            sys::set_hostname(name).map_err(failed(Step::Hostname))?;
        }
        if let Some(network) = &resume.network {
            network::set_up(network)?;
        }
        sandbox::place(&resume.files)?;
        if !resume.hand_over.is_empty() {
            hold::hand_over(&resume.hand_over)?;
        }
        self.waiting = None;
        if let Phase::Running(running) = &self.phase
            && core::mem::take(&mut self.held)
        {
            let go_on = self.scope.signal(running.child.pid, libc::SIGCONT);
            go_on.map_err(failed(Step::Continue))?;
        }
        Ok(())
    }

    /// Stops what is to be held, once it is ready. True when it was.
    fn hold(&mut self) -> Result<bool, End> {
        let Phase::Running(running) = &self.phase else { return Ok(false) };
        let Some(waiting) = self.waiting.as_mut().filter(|_| !self.held) else {
            return Ok(false);
        };
        if !waiting.is_over().map_err(End::Broken)? {
            return Ok(false);
        }
        self.scope.signal(running.child.pid, libc::SIGSTOP).map_err(End::Broken)?;
        self.held = true;
        put_empty(self.outbox.frames(), Kind::Held);
        Ok(true)
    }

    fn receive(&mut self, input: &mut Vec<u8>, joinable: bool) -> Result<Option<Event>, End> {
        input.clear();
        let most = input.capacity();
        match sys::read_append(&self.socket, input, most) {
            Ok(0) => return Err(End::Closed),
            Ok(_) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(errno) => return Err(End::Broken(errno)),
        }
        let mut event = None;
        let mut bytes = input.as_slice();
        while let Some(frame) = self.decoder.next(&mut bytes).map_err(End::Protocol)? {
            match FromHost::parse(frame).map_err(End::Protocol)? {
                FromHost::Hello(_) => {}
                FromHost::Refresh(resume) => self.resume(&resume).map_err(stale)?,
                FromHost::Hold(until) => self.waiting = Some(Waiting::new(until)),
                FromHost::Start(start) => {
                    if !matches!(self.phase, Phase::Idle) {
                        return Err(End::Protocol(ProtocolError::Unexpected(Kind::Start)));
                    }
                    let refreshed =
                        start.fresh.as_ref().map_or(Ok(()), |fresh| self.refresh(fresh));
                    match refreshed.and_then(|()| begin(&start, joinable)) {
                        Ok(running) => {
                            self.device.reached(Milestone::WorkloadExec);
                            put_empty(self.outbox.frames(), Kind::Started);
                            self.phase = Phase::Running(running);
                            event = Some(Event::Started);
                        }
                        Err(failure) => {
                            let _ = put(self.outbox.frames(), Kind::Failed, &failure);
                            self.phase = Phase::Over;
                        }
                    }
                }
                other => {
                    if let Phase::Running(running) = &mut self.phase {
                        running.told(&other).map_err(End::Protocol)?;
                    }
                }
            }
        }
        Ok(event)
    }
}

fn stale(failure: Failure) -> End {
    match failure {
        Failure::Setup { errno, .. } => End::Stale(Errno(errno)),
        _ => End::Stale(Errno::INVAL),
    }
}

/// Starts the process that `start` describes.
fn begin(start: &Start, joinable: bool) -> Result<Running, Failure> {
    if start.sandbox.is_some() == joinable {
        return Err(Failure::WrongState);
    }
    if let Some(network) = &start.network {
        network::set_up(network)?;
    }
    if start.process.terminal.is_some() {
        return begin_at_terminal(start);
    }
    let pipe = || sys::pipe().map_err(failed(Step::Streams));
    let (stdin, stdin_ours) = match start.process.stdin.then(pipe).transpose()? {
        Some((theirs, ours)) => (Some(theirs), Some(ours)),
        None => (None, None),
    };
    let (stdout_ours, stdout) = pipe()?;
    let (stderr_ours, stderr) = pipe()?;
    let streams = Streams { stdin, stdout, stderr };
    let stdin = StdinPipe::new(stdin_ours).map_err(failed(Step::Streams))?;
    let stdout = OutputPipe::new(Output::Stdout, stdout_ours).map_err(failed(Step::Streams))?;
    let stderr = OutputPipe::new(Output::Stderr, stderr_ours).map_err(failed(Step::Streams))?;
    let Spawned { child, terminal } = spawn::spawn(start, Some(&streams))?;
    Ok(Running { child, stdin, stdout, stderr, terminal, exited: None })
}

/// Starts a process at a terminal. What it shows is the standard output.
fn begin_at_terminal(start: &Start) -> Result<Running, Failure> {
    let Spawned { child, terminal } = spawn::spawn(start, None)?;
    let duplicate = || terminal.as_ref().map(sys::duplicate).transpose();
    let streams = || -> sys::Result<_> {
        let typed = if start.process.stdin { duplicate()? } else { None };
        let shown = duplicate()?.ok_or(Errno::INVAL)?;
        Ok((StdinPipe::new(typed)?, OutputPipe::new(Output::Stdout, shown)?))
    };
    let (stdin, stdout) = streams().map_err(|errno| {
        let _ = sys::kill(child.pid, libc::SIGKILL);
        let _ = sys::wait(child.pid, 0);
        failed(Step::Terminal)(errno)
    })?;
    let stderr = OutputPipe::closed(Output::Stderr);
    Ok(Running { child, stdin, stdout, stderr, terminal, exited: None })
}

impl Running {
    fn told(&mut self, message: &FromHost<'_>) -> Result<(), ProtocolError> {
        match message {
            FromHost::Stdin(bytes) => self.stdin.push(bytes)?,
            FromHost::StdinEof => self.stdin.end(),
            FromHost::Signal(signal) if self.exited.is_none() => {
                let _ = sys::kill(self.child.pid, c_int::from(*signal));
            }
            FromHost::CloseOutput(output) => self.output(*output).close(),
            FromHost::Credit(credit) => {
                let output = credit.output.ok_or(ProtocolError::Unexpected(Kind::Credit))?;
                self.output(output).grant(credit.bytes);
            }
            FromHost::Resize(size) => {
                if let Some(terminal) = &self.terminal {
                    let _ = sys::set_terminal_size(terminal, size.columns, size.rows);
                }
            }
            FromHost::Signal(_)
            | FromHost::Hello(_)
            | FromHost::Start(_)
            | FromHost::Refresh(_)
            | FromHost::Hold(_) => {}
        }
        Ok(())
    }

    fn output(&mut self, output: Output) -> &mut OutputPipe {
        match output {
            Output::Stdout => &mut self.stdout,
            Output::Stderr => &mut self.stderr,
        }
    }

    /// Takes the exit status. True when there was one.
    fn reap(&mut self) -> bool {
        let Ok(Some((_, wait_status))) = sys::wait(self.child.pid, libc::WNOHANG) else {
            return false;
        };
        let oom_killed = oom::suspected(wait_status) && oom::happened();
        self.exited = Some(Exited { wait_status, oom_killed });
        true
    }

    /// Once the process has ended: the rest of its output, then its exit.
    /// True when all of that is in `outbox`.
    fn report(&mut self, outbox: &mut Outbox) -> bool {
        let Some(exited) = self.exited else { return false };
        let stdout = self.stdout.drain(outbox);
        let stderr = self.stderr.drain(outbox);
        stdout && stderr && put(outbox.frames(), Kind::Exited, &exited).is_ok()
    }
}
