//! A microVM that another process made and holds.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use bulkhead_runtime::{
    Error, Exit, HostProcess, Isolation, Record, Role, Sandbox, SandboxId, Signal, StateDir,
    Stdio, TerminalSize, Timeline, Usage,
};
use nix::sys::eventfd::EventFd;
use oci_spec::runtime::{LinuxResources, Process};

use crate::accounting;
use crate::asking;
use crate::error::{MicroVmError, io_error, wall};
use crate::exec::Exec;
use crate::leftovers;
use crate::monitor::config::files;
use crate::timeline::SharedTimeline;

/// A microVM found by its directory. Its workload's streams and its exit belong
/// to the process that made it.
#[derive(Debug)]
pub struct LoadedMicroVm {
    record: Record,
    dir: StateDir,
    /// The monitor's process id, while it lives.
    monitor: Option<i32>,
    /// Polls readable when it is gone.
    gone: OwnedFd,
}

impl LoadedMicroVm {
    /// Finds the monitor of a microVM.
    pub fn new(dir: StateDir, record: Record) -> Result<Self, MicroVmError> {
        // Most often it is the one that is noted, and the others need not be looked at.
        let noted = record.pid.and_then(|pid| leftovers::pin_monitor(pid, dir.path()));
        let found = match noted {
            Some(process) => Some(process),
            None => leftovers::find_monitor(dir.path())?,
        };
        let (monitor, gone) = match found {
            Some((pid, process)) => (Some(pid), process),
            None => {
                let always = EventFd::from_value(1).map_err(io_error("make an eventfd"))?;
                (None, always.into())
            }
        };
        Ok(Self { record, dir, monitor, gone })
    }

    fn monitor_pid(&self) -> Result<i32, Error> {
        let id = self.record.id.clone();
        self.monitor.ok_or(Error::NotRunning { id })
    }
}

impl Sandbox for LoadedMicroVm {
    fn id(&self) -> &SandboxId {
        &self.record.id
    }

    fn start(&mut self, _interrupt: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        Err(unsupported("starting a sandbox that another process created"))
    }

    fn exec(&mut self, process: &Process, stdio: Stdio) -> Result<Box<dyn Sandbox>, Error> {
        self.monitor_pid()?;
        if asking::is_paused(&self.dir) {
            return Err(Error::Paused { id: self.record.id.clone() });
        }
        Ok(Box::new(Exec::start(&self.record.id, self.dir.path(), process, stdio)?))
    }

    /// Only `SIGKILL`, which ends the machine; any other signal has to go
    /// through the process that holds the session.
    fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        self.monitor_pid()?;
        if signal != Signal::KILL {
            return Err(unsupported("any signal but SIGKILL from another process"));
        }
        leftovers::kill_monitors(self.dir.path()).map_err(wall("ending the monitor"))
    }

    fn pause(&mut self) -> Result<(), Error> {
        self.monitor_pid()?;
        asking::pause(&self.dir, &mut self.record)
    }

    fn unpause(&mut self) -> Result<(), Error> {
        self.monitor_pid()?;
        asking::unpause(&self.dir, &mut self.record)
    }

    fn resize(&mut self, _size: TerminalSize) -> Result<(), Error> {
        Err(unsupported("resizing the terminal of another process"))
    }

    fn update(&mut self, resources: &LinuxResources) -> Result<(), Error> {
        asking::update(self.monitor_pid()?, resources)
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.gone.as_fd()
    }

    fn wait(&mut self, _timeout: Option<Duration>) -> Result<Option<Exit>, Error> {
        Err(unsupported("waiting for a sandbox that another process created"))
    }

    fn usage(&self) -> Result<Usage, Error> {
        let usage = accounting::of_process(self.monitor_pid()?).map_err(wall("accounting"))?;
        Ok(Usage { memory_limit_bytes: self.record.machine_bytes, ..usage })
    }

    fn processes(&self) -> Result<Vec<HostProcess>, Error> {
        let process = self.monitor.map(|pid| HostProcess { pid, role: Role::Monitor });
        Ok(process.into_iter().collect())
    }

    fn timeline(&self) -> Timeline {
        let mut timeline = Timeline::default();
        if let Ok(shared) = SharedTimeline::open(&self.dir.path().join(files::TIMELINE)) {
            shared.copy_into(&mut timeline);
        }
        timeline
    }

    fn delete(&mut self) -> Result<(), Error> {
        leftovers::kill_monitors(self.dir.path()).map_err(wall("ending the monitor"))?;
        self.monitor = None;
        Ok(self.dir.remove()?)
    }
}

fn unsupported(what: &'static str) -> Error {
    Error::Unsupported { isolation: Isolation::MicroVm, what }
}
