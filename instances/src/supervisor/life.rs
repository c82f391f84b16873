//! One life of a workload: from its start to its end.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use bulkhead_runtime::{Error, Signal};
use nix::poll::{PollFd, PollFlags, poll};

use super::checks::Checks;
use super::streams::Streams;
use super::{End, Launched, Supervisor, no_workload, timeout};
use crate::control::{Refusal, Reply, Request};
use crate::{Phase, Timestamp};

/// A workload that does not end although it was killed is given up after this: the
/// sandbox is removed around it.
const GIVE_UP: Duration = Duration::from_secs(10);

/// docker's code for what was killed.
const KILLED: u8 = 137;
/// As timeout(1).
const TIMED_OUT: u8 = 124;

/// A workload that runs.
struct Life {
    launched: Box<dyn Launched>,
    streams: Streams,
    checks: Option<Checks>,
    paused: bool,
    /// When it is to be killed, having been asked to stop.
    kill_at: Option<Instant>,
    /// When it is given up, having been killed.
    give_up_at: Option<Instant>,
    /// When it has run long enough.
    deadline: Option<Instant>,
    timed_out: bool,
}

impl Life {
    /// The next time at which something is to be done by itself.
    fn due(&self) -> Option<Instant> {
        let checks = self.checks.as_ref().filter(|_| !self.paused).map(Checks::due);
        [self.kill_at, self.give_up_at, self.deadline, checks].into_iter().flatten().min()
    }

    /// Signals the workload, which may have ended already.
    fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        match self.launched.sandbox().signal(signal) {
            Err(Error::NotRunning { .. }) => Ok(()),
            other => other,
        }
    }

    fn kill(&mut self) {
        let _ = self.signal(Signal::KILL);
        self.unpause();
        self.kill_at = None;
        self.give_up_at = self.give_up_at.or(Some(Instant::now() + GIVE_UP));
    }

    /// What is paused takes no signal but the last.
    fn unpause(&mut self) {
        if self.paused && self.launched.sandbox().unpause().is_ok() {
            self.paused = false;
        }
    }
}

impl Supervisor<'_> {
    /// Starts the workload and takes care of it until it has ended.
    pub(super) fn live(&mut self, restarts: u32) -> End {
        let mut life = match self.begin(restarts) {
            Ok(life) => life,
            Err(refusal) => return End::failed(refusal),
        };
        let since = Instant::now();
        let mut end = self.run_to_end(&mut life);
        let Self { log, callers, .. } = self;
        life.streams.drain(&mut |stream, bytes| {
            callers.output(stream, bytes);
            if let Some(log) = log {
                let _ = log.append(stream, bytes);
            }
        });
        if let Err(refusal) = life.launched.delete() {
            end.error.get_or_insert(refusal);
        }
        end.ran = Some(since.elapsed());
        if end.oom_killed {
            self.event("oom", &[]);
        }
        self.event("die", &[("exitCode", end.code.to_string())]);
        end
    }

    fn begin(&mut self, restarts: u32) -> Result<Life, Refusal> {
        self.held.refresh();
        let supervisor = nix::unistd::getpid().as_raw();
        self.note(|state| {
            state.phase = Phase::Starting;
            state.supervisor = Some(supervisor);
            state.restarts = restarts;
            state.stopped = false;
            state.error = None;
            state.health = None;
        });
        // Whoever had it started wants to be told.
        for (caller, request) in self.callers.serve(&mut Vec::new()) {
            match request {
                Request::AwaitStart(attach) => self.callers.await_start(caller, attach),
                _ => self.callers.answer(caller, &Reply::Failed(no_workload(&self.held))),
            }
        }
        let config = self.held.instance.config.clone();
        let (stdio, streams) =
            Streams::new(config.interactive).map_err(|error| Refusal::of(&error))?;
        // Relative paths of the request; where they began may be gone.
        let _ = std::env::set_current_dir(&config.directory);
        let created = self.launcher.create(&config, stdio);
        let _ = std::env::set_current_dir("/");
        let mut launched = created?;
        let sandbox = launched.sandbox().id().clone();
        let named = sandbox.clone();
        self.note(|state| state.sandbox = Some(named));
        if let Err(refusal) = launched.start(self.signals.as_fd()) {
            let _ = launched.delete();
            self.take_signals();
            return Err(refusal);
        }
        let pid = self.instances.pid_of(&sandbox);
        let process = launched.process();
        let checks = config.health.zip(process).map(|(it, process)| Checks::new(it, &process));
        let health = checks.as_ref().map(Checks::status);
        self.note(|state| {
            state.phase = Phase::Running;
            state.started = Some(Timestamp::now());
            (state.finished, state.exit_code, state.oom_killed) = (None, None, false);
            (state.pid, state.health) = (pid, health);
        });
        if let Some(checks) = &checks {
            let _ = self.held.note_health(checks.health());
        }
        self.event("start", &[]);
        let attached = self.callers.started();
        if let Some(size) = attached.and_then(|attach| attach.size) {
            let _ = launched.sandbox().resize(size);
        }
        let deadline = config.timeout.map(|limit| Instant::now() + limit);
        let (kill_at, give_up_at) = (None, None);
        let (paused, timed_out) = (false, false);
        Ok(Life { launched, streams, checks, paused, kill_at, give_up_at, deadline, timed_out })
    }

    fn run_to_end(&mut self, life: &mut Life) -> End {
        loop {
            match life.launched.sandbox().wait(Some(Duration::ZERO)) {
                Ok(Some(exit)) => {
                    let code = if life.timed_out { TIMED_OUT } else { exit.code() };
                    let oom_killed = exit.oom_killed;
                    return End { code, oom_killed, error: None, ran: None };
                }
                Ok(None) => {}
                Err(error) => {
                    let code = if life.timed_out { TIMED_OUT } else { KILLED };
                    return End { code, ..End::failed(Refusal::of(&error)) };
                }
            }
            self.await_news(life);
            if self.take_signals() {
                self.stop(life, None, None);
            }
            self.serve(life);
            let Self { log, callers, .. } = self;
            life.streams.carry(&mut |stream, bytes| {
                callers.output(stream, bytes);
                if let Some(log) = log {
                    let _ = log.append(stream, bytes);
                }
            });
            self.check(life);
            if let Some(end) = self.on_time(life) {
                return end;
            }
        }
    }

    fn await_news(&mut self, life: &mut Life) {
        let left = life.due().map(|at| at.saturating_duration_since(Instant::now()));
        self.callers.hold_input(life.streams.is_full());
        let Life { launched, streams, checks, .. } = life;
        let sandbox = launched.sandbox().event_fd();
        let mut fds = vec![
            PollFd::new(sandbox, PollFlags::POLLIN),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        ];
        self.callers.poll_with(&mut fds);
        streams.poll_with(&mut fds);
        if let Some(checks) = checks {
            checks.poll_with(&mut fds);
        }
        let _ = poll(&mut fds, timeout(left));
    }

    /// Does what has to be done by now.
    fn on_time(&mut self, life: &mut Life) -> Option<End> {
        let now = Instant::now();
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(life.deadline) {
            life.deadline = None;
            life.timed_out = true;
            self.stopped = true;
            life.kill();
        }
        if is_due(life.kill_at) {
            life.kill();
        }
        if is_due(life.give_up_at) {
            let code = if life.timed_out { TIMED_OUT } else { KILLED };
            return Some(End { code, oom_killed: false, error: None, ran: None });
        }
        None
    }

    fn check(&mut self, life: &mut Life) {
        let Some(checks) = life.checks.as_mut().filter(|_| !life.paused) else { return };
        let Some(changed) = checks.turn(life.launched.sandbox()) else { return };
        let status = checks.status();
        let _ = self.held.note_health(checks.health());
        if changed {
            self.note(|state| state.health = Some(status));
            self.event("health_status", &[("health", status.as_str().to_owned())]);
        }
    }

    fn serve(&mut self, life: &mut Life) {
        let mut input = Vec::new();
        let requests = self.callers.serve(&mut input);
        life.streams.give(input, self.held.instance.config.stdin_once);
        for (caller, request) in requests {
            let outcome = match request {
                Request::Stop { signal, seconds } => {
                    self.callers.await_stop(caller);
                    self.stop(life, signal, seconds);
                    continue;
                }
                Request::Wait => {
                    self.callers.await_end(caller);
                    continue;
                }
                Request::Attach(attach) => {
                    self.callers.attach(caller, attach);
                    if let Some(size) = attach.size {
                        let _ = life.launched.sandbox().resize(size);
                    }
                    self.event("attach", &[]);
                    continue;
                }
                Request::AwaitStart(_) => Ok(()),
                Request::Signal(signal) => self.signal(life, signal),
                Request::Pause => self.pause(life),
                Request::Unpause => self.unpause(life),
                Request::Resize(size) => life.launched.sandbox().resize(size),
            };
            let reply = match outcome {
                Ok(()) => Reply::Done,
                Err(error) => Reply::Failed(Refusal::of(&error)),
            };
            self.callers.answer(caller, &reply);
        }
    }

    /// Asks the workload to stop, and sees to it that it does.
    fn stop(&mut self, life: &mut Life, signal: Option<Signal>, seconds: Option<i64>) {
        self.stopped = true;
        let config = &self.held.instance.config;
        let signal = signal.unwrap_or(config.stop_signal);
        let grace = match seconds {
            None => config.stop_timeout,
            Some(seconds) => u64::try_from(seconds).ok().map(Duration::from_secs),
        };
        let _ = life.signal(signal);
        // What does not run cannot stop by itself.
        life.unpause();
        let kill_at = grace.and_then(|grace| Instant::now().checked_add(grace));
        life.kill_at = match (life.kill_at, kill_at) {
            (Some(before), Some(now)) => Some(before.min(now)),
            (before, now) => before.or(now),
        };
        self.event("stop", &[("signal", signal.to_string())]);
    }

    fn signal(&mut self, life: &mut Life, signal: Signal) -> Result<(), Error> {
        // docker: what was meant to end it is no reason to start it again.
        let ends = signal == Signal::KILL || signal == self.held.instance.config.stop_signal;
        self.stopped |= ends;
        life.launched.sandbox().signal(signal)?;
        if signal == Signal::KILL {
            life.kill();
        }
        self.event("kill", &[("signal", signal.to_string())]);
        Ok(())
    }

    fn pause(&mut self, life: &mut Life) -> Result<(), Error> {
        life.launched.sandbox().pause()?;
        life.paused = true;
        self.note(|state| state.phase = Phase::Paused);
        self.event("pause", &[]);
        Ok(())
    }

    fn unpause(&mut self, life: &mut Life) -> Result<(), Error> {
        life.launched.sandbox().unpause()?;
        life.paused = false;
        self.note(|state| state.phase = Phase::Running);
        self.event("unpause", &[]);
        Ok(())
    }
}
