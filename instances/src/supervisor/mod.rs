//! The process that takes care of one instance.
//!
//! It has one thread, which never waits for anything but all of what it takes care of: the
//! sandbox, its streams, its health checks, callers and signals. The sandbox dies with it
//! ([`bulkhead_runtime::Lifetime::Attached`]): what is left then is found by its lock.

mod callers;
mod checks;
mod life;
mod streams;

use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bulkhead_runtime::{Sandbox, Stdio};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal as Named};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use oci_spec::runtime::Process;

use self::callers::Callers;
use crate::control::{Refusal, Reply, Request, listen};
use crate::events::Events;
use crate::log::LogWriter;
use crate::{Backoff, Config, Held, Instances, Phase, State, StoreError, Timestamp};

/// Makes sandboxes of what instances were asked for.
pub trait Launcher {
    /// Makes the sandbox, up to the start of its workload.
    ///
    /// # Errors
    ///
    /// Why it cannot be made, for a user to read.
    fn create(&self, config: &Config, stdio: Stdio) -> Result<Box<dyn Launched>, Refusal>;
}

/// A sandbox that was made for an instance.
pub trait Launched {
    /// Starts the workload, unless `interrupt` becomes readable first.
    ///
    /// # Errors
    ///
    /// Why it cannot be started, for a user to read.
    fn start(&mut self, interrupt: BorrowedFd<'_>) -> Result<(), Refusal>;

    /// The sandbox.
    fn sandbox(&mut self) -> &mut dyn Sandbox;

    /// The workload, as the bundle describes it: what further processes are like.
    fn process(&self) -> Option<Process>;

    /// Removes everything that was made for it.
    ///
    /// # Errors
    ///
    /// What could not be removed.
    fn delete(&mut self) -> Result<(), Refusal>;
}

/// The signals that ask a supervisor to stop its workload.
const ENDING: [Named; 4] = [Named::SIGTERM, Named::SIGINT, Named::SIGHUP, Named::SIGQUIT];

/// How long the last answers may take to be read.
const FAREWELL: Duration = Duration::from_secs(2);

/// How a life of the workload ended.
#[derive(Debug)]
struct End {
    code: u8,
    oom_killed: bool,
    /// Why it did not start, or what broke.
    error: Option<Refusal>,
    /// How long it ran; `None` when it never did.
    ran: Option<Duration>,
}

impl End {
    fn failed(error: Refusal) -> Self {
        Self { code: error.code, oom_killed: false, error: Some(error), ran: None }
    }
}

/// Takes care of the instance `held` until its workload has ended for good. `first` is
/// the connection to whoever had it started.
///
/// To be called by a process with one thread, which ends when it returns.
///
/// # Errors
///
/// When the instance cannot be taken care of at all; its caller was told.
pub fn supervise(
    instances: &Instances,
    held: Held,
    launcher: &dyn Launcher,
    first: UnixStream,
) -> Result<(), StoreError> {
    let mut callers = Callers::begun_by(first);
    let prepared = prepare(&held, &mut callers);
    let signals = match prepared {
        Ok(signals) => signals,
        Err(error) => {
            callers.not_started(&Refusal::of(&error));
            callers.farewell(FAREWELL);
            return Err(error);
        }
    };
    let (log_dir, limits) = (held.instance.log_dir(), held.instance.config.log);
    let supervisor = Supervisor {
        // A log that cannot be written does not keep the workload from running.
        log: LogWriter::open(&log_dir, limits).ok(),
        events: instances.events(),
        instances,
        held,
        launcher,
        callers,
        signals,
        stopped: false,
    };
    supervisor.run()
}

/// What can fail before anything is made.
fn prepare(held: &Held, callers: &mut Callers) -> Result<SignalFd, StoreError> {
    let dir = &held.instance.dir;
    let io = |action| move |source| StoreError::Io { action, path: dir.clone(), source };
    let set: SigSet = ENDING.into_iter().collect();
    set.thread_block().map_err(|errno| io("watch signals for")(errno.into()))?;
    let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
    let signals = SignalFd::with_flags(&set, flags)
        .map_err(|errno| io("watch signals for")(errno.into()))?;
    callers.listen(listen(dir).map_err(io("listen in"))?);
    Ok(signals)
}

struct Supervisor<'a> {
    instances: &'a Instances,
    held: Held,
    launcher: &'a dyn Launcher,
    callers: Callers,
    signals: SignalFd,
    log: Option<LogWriter>,
    events: Events,
    /// Somebody asked for the end.
    stopped: bool,
}

impl Supervisor<'_> {
    fn run(mut self) -> Result<(), StoreError> {
        let mut backoff = Backoff::default();
        let mut restarts = 0;
        let mut has_run = false;
        loop {
            let end = self.live(restarts);
            has_run |= end.ran.is_some();
            let policy = self.held.instance.config.restart;
            let again = has_run && !self.stopped && policy.wants(end.code, restarts);
            if again {
                let pause = backoff.after(end.ran.unwrap_or_default());
                self.note_end(&end, Phase::Restarting);
                self.callers.ended(end.code, end.oom_killed);
                self.idle(pause);
            }
            if !again || self.stopped {
                return self.finish(&end, has_run);
            }
            restarts += 1;
        }
    }

    /// Notes the end for good, tells everybody, and removes what is not to stay.
    fn finish(mut self, end: &End, has_run: bool) -> Result<(), StoreError> {
        let stopped = self.stopped;
        self.note_end(end, if has_run { Phase::Exited } else { Phase::Created });
        let _ = self.held.note(|state| state.stopped = stopped);
        if let (Some(refusal), false) = (&end.error, has_run) {
            self.callers.not_started(refusal);
            self.callers.farewell(FAREWELL);
            return Ok(());
        }
        let removed = if self.held.instance.config.auto_remove {
            self.instances.remove(self.held)
        } else {
            drop(self.held);
            Ok(())
        };
        // Afterwards: whoever waited can remove it, or finds nothing.
        self.callers.finish(&Reply::Exited { code: end.code, oom_killed: end.oom_killed });
        self.callers.farewell(FAREWELL);
        removed
    }

    fn note_end(&mut self, end: &End, phase: Phase) {
        // A disk without room does not keep the workload from being started again.
        let _ = self.held.note(|state| {
            state.phase = phase;
            (state.pid, state.sandbox) = (None, None);
            if !phase.needs_supervisor() {
                state.supervisor = None;
            }
            state.finished = Some(Timestamp::now());
            state.exit_code = Some(end.code);
            state.oom_killed = end.oom_killed;
            state.error = end.error.as_ref().map(ToString::to_string);
        });
    }

    /// Serves callers for `pause`, while there is no workload, or until it is to be
    /// stopped.
    fn idle(&mut self, pause: Duration) {
        let until = Instant::now() + pause;
        while !self.stopped && Instant::now() < until {
            let mut fds =
                vec![PollFd::new(std::os::fd::AsFd::as_fd(&self.signals), PollFlags::POLLIN)];
            self.callers.poll_with(&mut fds);
            let left = until.saturating_duration_since(Instant::now());
            let _ = poll(&mut fds, timeout(Some(left)));
            drop(fds);
            self.take_signals();
            for (caller, request) in self.callers.serve(&mut Vec::new()) {
                match request {
                    Request::Stop { .. } => {
                        self.stopped = true;
                        self.callers.await_stop(caller);
                    }
                    Request::Wait => self.callers.await_end(caller),
                    _ => self.callers.answer(caller, &Reply::Failed(no_workload(&self.held))),
                }
            }
        }
    }

    /// True when this process was asked to end.
    fn take_signals(&mut self) -> bool {
        let mut any = false;
        while let Ok(Some(_)) = self.signals.read_signal() {
            any = true;
        }
        self.stopped |= any;
        any
    }

    fn event(&mut self, action: &str, attributes: &[(&str, String)]) {
        self.held.refresh();
        self.events.note(&self.held.instance.config, action, attributes);
    }

    fn note(&mut self, change: impl FnOnce(&mut State)) {
        let _ = self.held.note(change);
    }
}

fn no_workload(held: &Held) -> Refusal {
    let name = &held.instance.config.name;
    Refusal { causes: vec![format!("sandbox {name} is not running")], hint: None, code: 1 }
}

/// Rounded up, so that the time is over when poll returns.
fn timeout(left: Option<Duration>) -> PollTimeout {
    left.map_or(PollTimeout::NONE, |left| {
        PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX)
    })
}
