//! A further process in a container made by a peer.

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_runtime::{
    Clock, Error, Exit, HostProcess, Instant, Role, Sandbox, SandboxId, Signal, Stdio,
    TerminalSize, Timeline, Usage,
};
use oci_spec::runtime::{LinuxResources, Process};

use super::call::{Call, Given, Program};
use super::error::PeerError;
use super::{ISOLATION, wall};
use crate::poll::wait_readable;

/// The peer's `exec`, which stays until its process has ended and passes its
/// streams and its exit code on.
#[derive(Debug)]
pub struct OciExec {
    id: SandboxId,
    call: Call,
    description: PathBuf,
    timeline: Timeline,
    exit: Option<Exit>,
}

impl OciExec {
    /// Starts `process` in the container `id`.
    pub fn start(
        id: &SandboxId,
        program: &Program,
        dir: &Path,
        process: &Process,
        stdio: &Stdio,
    ) -> Result<Self, PeerError> {
        let mut timeline = Timeline::starting_at(Instant::now());
        let description = dir.join(format!("exec-{}.json", Instant::now().as_nanos()));
        let file = File::create(&description).map_err(PeerError::io("create", &description))?;
        serde_json::to_writer(std::io::BufWriter::new(file), process)
            .map_err(|error| PeerError::Config(error.into()))?;
        let path = description.to_string_lossy();
        let arguments = ["exec", "--process", &*path, id.as_str()];
        let mut given = Given { stdio: Some(stdio), ..Given::default() };
        let call = program.spawn(id, dir, &arguments, &mut given)?;
        // The peer's own exec; its process's cannot be seen from outside.
        timeline.mark(Clock::WorkloadExec);
        Ok(Self { id: id.clone(), call, description, timeline, exit: None })
    }

    fn send(&self, signal: i32) {
        // SAFETY: a child of ours that has not been collected; the peer passes the
        // signal on, and SIGKILL goes to the whole session.
        unsafe {
            let target = if signal == libc::SIGKILL {
                -self.call.child.pid
            } else {
                self.call.child.pid
            };
            libc::kill(target, signal);
        }
    }
}

impl Sandbox for OciExec {
    fn id(&self) -> &SandboxId {
        &self.id
    }

    fn start(&mut self, _: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        // It runs already.
        Ok(())
    }

    fn exec(&mut self, _: &Process, _: Stdio) -> Result<Box<dyn Sandbox>, Error> {
        Err(unsupported("exec within exec"))
    }

    fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        if self.wait(Some(Duration::ZERO))?.is_some() {
            return Err(Error::NotRunning { id: self.id.clone() });
        }
        self.send(signal.number());
        Ok(())
    }

    fn pause(&mut self) -> Result<(), Error> {
        Err(unsupported("pausing a single process"))
    }

    fn unpause(&mut self) -> Result<(), Error> {
        Err(unsupported("pausing a single process"))
    }

    fn resize(&mut self, _size: TerminalSize) -> Result<(), Error> {
        Err(unsupported("a terminal"))
    }

    fn update(&mut self, _resources: &LinuxResources) -> Result<(), Error> {
        Err(unsupported("limits of a single process"))
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.call.child.pidfd.as_fd()
    }

    fn wait(&mut self, timeout: Option<Duration>) -> Result<Option<Exit>, Error> {
        let deadline = timeout.map(|timeout| std::time::Instant::now() + timeout);
        while self.exit.is_none() {
            let status = self.call.collect().map_err(wall("waiting for a further process"))?;
            if let Some(status) = status {
                self.timeline.mark(Clock::ExitObserved);
                self.exit = Exit::from_wait_status(status.into_raw(), false);
                continue;
            }
            let left =
                deadline.map(|at| at.saturating_duration_since(std::time::Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            wait_readable([Some(self.call.child.pidfd.as_fd())], left)
                .map_err(PeerError::io("wait for", &self.description))
                .map_err(wall("waiting for a further process"))?;
        }
        Ok(self.exit)
    }

    fn usage(&self) -> Result<Usage, Error> {
        // It is charged to the container.
        Ok(Usage::default())
    }

    fn processes(&self) -> Result<Vec<HostProcess>, Error> {
        let pid = self.call.child.pid;
        let running = self.exit.is_none();
        Ok(running.then_some(HostProcess { pid, role: Role::Helper }).into_iter().collect())
    }

    fn timeline(&self) -> Timeline {
        self.timeline
    }

    fn delete(&mut self) -> Result<(), Error> {
        if self.exit.is_none() {
            self.send(libc::SIGKILL);
            self.wait(None)?;
        }
        // Goes with the sandbox's directory in any case.
        let _ = fs::remove_file(&self.description);
        self.timeline.mark(Clock::Released);
        Ok(())
    }
}

impl Drop for OciExec {
    fn drop(&mut self) {
        let _ = self.delete();
    }
}

fn unsupported(what: &'static str) -> Error {
    Error::Unsupported { isolation: ISOLATION, what }
}
