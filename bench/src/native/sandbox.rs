//! One child process, as a sandbox without a wall.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use bulkhead_runtime::{
    Clock, Error, Exit, HostProcess, Role, Sandbox, SandboxId, Signal, Stdio, TerminalSize,
    Timeline, Usage,
};
use oci_spec::runtime::{LinuxResources, Process};
use rustix::event::{EventfdFlags, eventfd};

use super::{failed, unsupported};
use crate::poll::wait_readable;
use crate::spawn::{Child, Plan, SpawnError};

/// A workload without a wall.
#[derive(Debug)]
pub struct NativeSandbox {
    id: SandboxId,
    command: String,
    timeline: Timeline,
    stage: Stage,
    /// What [`Sandbox::event_fd`] returns while there is no child: never readable.
    quiet: OwnedFd,
}

#[derive(Debug)]
enum Stage {
    Created { plan: Box<Plan>, _stdio: Stdio },
    Started(Child),
    Exited(Exit),
    Deleted,
}

impl NativeSandbox {
    pub fn new(
        id: SandboxId,
        command: String,
        plan: Plan,
        stdio: Stdio,
        timeline: Timeline,
    ) -> Result<Self, Error> {
        let quiet = eventfd(0, EventfdFlags::CLOEXEC)
            .map_err(|errno| failed("creating an eventfd")(errno.into()))?;
        let stage = Stage::Created { plan: Box::new(plan), _stdio: stdio };
        Ok(Self { id, command, timeline, stage, quiet })
    }

    fn child(&self) -> Result<&Child, Error> {
        match &self.stage {
            Stage::Started(child) => Ok(child),
            _ => Err(Error::NotRunning { id: self.id.clone() }),
        }
    }

    fn start_error(&self, error: SpawnError) -> Error {
        let command = self.command.clone();
        match error {
            SpawnError::SetUp(source) => failed("starting the process")(source),
            SpawnError::Exec(source) if source.kind() == io::ErrorKind::NotFound => {
                Error::WorkloadNotFound { command }
            }
            SpawnError::Exec(source) => Error::WorkloadNotExecutable { command, source },
        }
    }

    fn kill(&mut self) -> Result<(), Error> {
        if let Stage::Started(child) = &self.stage {
            send(child, libc::SIGKILL).map_err(failed("killing the workload"))?;
            self.wait(None)?;
        }
        Ok(())
    }
}

/// Sends `signal` to the child; a child that has exited and was not waited for
/// yet takes it without effect.
fn send(child: &Child, signal: i32) -> io::Result<()> {
    let fd = child.pidfd.as_raw_fd();
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is valid, no information is passed and no flag set.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, info, 0) };
    if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Collects the child when it has exited.
fn collect(child: &Child) -> io::Result<Option<Exit>> {
    let mut status = 0;
    // SAFETY: `status` is writable; the pid is a child not waited for yet, so it
    // cannot have been given to another process.
    match unsafe { libc::waitpid(child.pid, &raw mut status, libc::WNOHANG) } {
        0 => Ok(None),
        pid if pid > 0 => Ok(Exit::from_wait_status(status, false)),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Sandbox for NativeSandbox {
    fn id(&self) -> &SandboxId {
        &self.id
    }

    fn start(&mut self, _interrupt: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        let Stage::Created { plan, .. } = &self.stage else {
            return Err(unsupported("starting twice"));
        };
        let child = plan.spawn().map_err(|error| self.start_error(error))?;
        self.timeline.mark(Clock::WorkloadExec);
        // Drops our copies of the streams: only the workload holds them now.
        self.stage = Stage::Started(child);
        Ok(())
    }

    fn exec(&mut self, _: &Process, _: Stdio) -> Result<Box<dyn Sandbox>, Error> {
        Err(unsupported("exec"))
    }

    fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        send(self.child()?, signal.number()).map_err(failed("sending a signal"))
    }

    fn pause(&mut self) -> Result<(), Error> {
        Err(unsupported("pausing"))
    }

    fn unpause(&mut self) -> Result<(), Error> {
        Err(unsupported("unpausing"))
    }

    fn resize(&mut self, _size: TerminalSize) -> Result<(), Error> {
        Err(unsupported("a terminal"))
    }

    fn update(&mut self, _resources: &LinuxResources) -> Result<(), Error> {
        Err(unsupported("changing limits"))
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        match &self.stage {
            Stage::Started(child) => child.pidfd.as_fd(),
            _ => self.quiet.as_fd(),
        }
    }

    fn wait(&mut self, timeout: Option<Duration>) -> Result<Option<Exit>, Error> {
        if let Stage::Exited(exit) = &self.stage {
            return Ok(Some(*exit));
        }
        let child = self.child()?;
        let deadline = timeout.map(|timeout| std::time::Instant::now() + timeout);
        loop {
            if let Some(exit) = collect(child).map_err(failed("waiting for the workload"))? {
                self.timeline.mark(Clock::ExitObserved);
                self.stage = Stage::Exited(exit);
                return Ok(Some(exit));
            }
            let left =
                deadline.map(|at| at.saturating_duration_since(std::time::Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            wait_readable([Some(child.pidfd.as_fd())], left)
                .map_err(failed("waiting for the workload"))?;
        }
    }

    fn usage(&self) -> Result<Usage, Error> {
        // Nothing accounts for a plain process and what it starts.
        Ok(Usage::default())
    }

    fn processes(&self) -> Result<Vec<HostProcess>, Error> {
        Ok(match &self.stage {
            Stage::Started(child) => {
                vec![HostProcess { pid: child.pid, role: Role::Workload }]
            }
            _ => Vec::new(),
        })
    }

    fn timeline(&self) -> Timeline {
        self.timeline
    }

    fn delete(&mut self) -> Result<(), Error> {
        self.kill()?;
        self.stage = Stage::Deleted;
        self.timeline.mark(Clock::Released);
        Ok(())
    }
}

impl Drop for NativeSandbox {
    fn drop(&mut self) {
        // Best effort: the workload dies with this process in any case.
        let _ = self.kill();
    }
}
