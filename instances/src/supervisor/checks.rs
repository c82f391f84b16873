//! Health checks, run in the sandbox.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use bulkhead_runtime::{Sandbox, Signal, Stdio};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags};
use oci_spec::runtime::Process;

use crate::Timestamp;
use crate::health::{Health, HealthCheck, HealthStatus, Probe};

/// Of what a check writes, so much is kept (docker's limit).
const KEPT: usize = 4096;

/// How long a killed check may take to be gone.
const GRACE: Duration = Duration::from_secs(1);

/// The checks of one life of a workload.
pub(super) struct Checks {
    check: HealthCheck,
    process: Process,
    health: Health,
    since: Instant,
    next: Instant,
    running: Option<Running>,
}

struct Running {
    sandbox: Box<dyn Sandbox>,
    output: Option<File>,
    kept: Vec<u8>,
    start: Timestamp,
    age: Duration,
    deadline: Instant,
}

impl Checks {
    /// Those of a workload that has just begun and is like `process`.
    pub(super) fn new(check: HealthCheck, process: &Process) -> Self {
        let mut process = process.clone();
        process.set_args(Some(check.command.clone())).set_terminal(None).set_console_size(None);
        let since = Instant::now();
        let health = Health::starting();
        let next = since + health.pause(&check, Duration::ZERO);
        Self { check, process, health, since, next, running: None }
    }

    pub(super) fn health(&self) -> &Health {
        &self.health
    }

    pub(super) fn status(&self) -> HealthStatus {
        self.health.status
    }

    /// When it has to have its turn, if nothing happens before.
    pub(super) fn due(&self) -> Instant {
        self.running.as_ref().map_or(self.next, |running| running.deadline)
    }

    /// Adds what is to be waited for.
    pub(super) fn poll_with<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        let Some(running) = &self.running else { return };
        fds.push(PollFd::new(running.sandbox.event_fd(), PollFlags::POLLIN));
        let output = running.output.as_ref();
        fds.extend(output.map(|output| PollFd::new(output.as_fd(), PollFlags::POLLIN)));
    }

    /// Begins a check or ends one. Gives whether the status is another one now, when a
    /// check has ended.
    pub(super) fn turn(&mut self, sandbox: &mut dyn Sandbox) -> Option<bool> {
        let now = Instant::now();
        let Some(running) = &mut self.running else {
            if now < self.next {
                return None;
            }
            return match self.begin(sandbox) {
                Ok(()) => None,
                Err(reason) => {
                    let (start, age) = (Timestamp::now(), self.since.elapsed());
                    Some(self.end(start, age, None, reason))
                }
            };
        };
        running.read();
        let exit = match running.sandbox.wait(Some(Duration::ZERO)) {
            Ok(None) if now < running.deadline => return None,
            Ok(exit) => exit,
            Err(_) => None,
        };
        let mut running = self.running.take()?;
        running.read();
        let mut text = String::from_utf8_lossy(&running.kept).into_owned();
        if exit.is_none() {
            let _ = running.sandbox.signal(Signal::KILL);
            let _ = running.sandbox.wait(Some(GRACE));
            text = format!("the check took longer than {:?}\n{text}", self.check.timeout);
        }
        let code = exit.map(|exit| exit.code());
        Some(self.end(running.start, running.age, code, text))
    }

    fn begin(&mut self, sandbox: &mut dyn Sandbox) -> Result<(), String> {
        let failed = |error: &dyn std::error::Error| {
            let causes = std::iter::successors(Some(error), |error| error.source());
            causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
        };
        let (output, stdio) = pipe().map_err(|error| failed(&error))?;
        let start = Timestamp::now();
        let age = self.since.elapsed();
        let sandbox = sandbox.exec(&self.process, stdio).map_err(|error| failed(&error))?;
        let deadline = Instant::now() + self.check.timeout;
        let (output, kept) = (Some(output), Vec::new());
        self.running = Some(Running { sandbox, output, kept, start, age, deadline });
        Ok(())
    }

    fn end(
        &mut self,
        start: Timestamp,
        age: Duration,
        exit_code: Option<u8>,
        output: String,
    ) -> bool {
        let probe = Probe { start, end: Timestamp::now(), exit_code, output };
        let changed = self.health.take(&self.check, age, probe);
        self.next = Instant::now() + self.health.pause(&self.check, self.since.elapsed());
        changed
    }
}

impl Running {
    /// Reads what the check has written; what is too much is read and forgotten.
    fn read(&mut self) {
        let mut bytes = [0; KEPT];
        while let Some(output) = &mut self.output {
            match output.read(&mut bytes) {
                Ok(0) => self.output = None,
                Ok(count) => {
                    let room = KEPT.saturating_sub(self.kept.len());
                    self.kept.extend_from_slice(&bytes[..count.min(room)]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.output = None,
            }
        }
    }
}

fn pipe() -> io::Result<(File, Stdio)> {
    let (reader, writer) = io::pipe()?;
    let reader: OwnedFd = reader.into();
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((File::from(reader), Stdio::output_to(writer.into())?))
}
