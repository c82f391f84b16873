//! A monitor, seen from the process that started it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use bulkhead_runtime::{Interface, KvmStats};
use nix::sys::wait::{Id, WaitPidFlag, waitid};

use crate::config::MicroVmConfig;
use crate::devices::virtio::net::Link;
use crate::error::{MicroVmError, io_error};
use crate::files::FileServer;
use crate::kvm::StatsReader;
use crate::leftovers;
use crate::monitor::channel::Channel;
use crate::monitor::config::MonitorConfig;
use crate::monitor::control;
use crate::monitor::report::{GuestFailure, Report, SavedFiles};
use crate::monitor::request::Request;
use crate::monitor::waiting::HANDED;
use crate::saving::saved;

/// What the monitor prints, which is nothing unless it is broken.
const STDERR: &str = "monitor.log";

/// A started monitor. Dropping it kills it.
#[derive(Debug)]
pub struct MonitorProcess {
    process: Process,
    channel: Channel,
    stats: Vec<StatsReader>,
    /// Who answers for the files of the host.
    files: Option<FileServer>,
}

/// The monitor's process.
#[derive(Debug)]
enum Process {
    /// A child of ours.
    Ours(Child),
    /// Somebody else's, who prepared it.
    Taken { pid: i32, process: OwnedFd },
    /// Left to itself.
    Left,
}

impl Process {
    fn pid(&self) -> i32 {
        match self {
            Self::Ours(child) => i32::try_from(child.id()).unwrap_or(0),
            Self::Taken { pid, .. } => *pid,
            Self::Left => 0,
        }
    }

    fn kill(&mut self) -> io::Result<()> {
        match self {
            Self::Ours(child) => child.kill(),
            Self::Taken { process, .. } => leftovers::kill(process),
            Self::Left => Ok(()),
        }
    }

    /// Waits for one that ends, or was killed, and tells how it ended, which only a
    /// parent learns.
    fn wait(&mut self) -> io::Result<Option<ExitStatus>> {
        match self {
            Self::Ours(child) => child.wait().map(Some),
            Self::Taken { process, .. } => {
                leftovers::wait(process)?;
                // We may be the one who prepared it.
                let how = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG;
                let _ = waitid(Id::PIDFd(process.as_fd()), how);
                Ok(None)
            }
            Self::Left => Ok(None),
        }
    }
}

/// A monitor that was prepared, and what it had kept.
#[derive(Debug)]
pub struct Taken {
    /// The monitor, whose machine runs.
    pub monitor: MonitorProcess,
    /// What it was told when it was started.
    pub config: MonitorConfig,
    /// The sandbox's lock.
    pub lock: File,
    /// Where the guest's PID 1 calls.
    pub listener: UnixListener,
}

/// How a machine ended, as far as the monitor said so.
#[derive(Debug)]
pub enum MachineEnd {
    /// The guest powered off.
    PowerOff,
    /// The guest failed.
    Failed(GuestFailure),
}

impl MonitorProcess {
    /// Starts a monitor, with copies of `fds`, and waits until its machine is up.
    pub fn start(
        runtime: &MicroVmConfig,
        config: &MonitorConfig,
        fds: &[BorrowedFd<'_>],
    ) -> Result<Self, MicroVmError> {
        let [program, args @ ..] = &runtime.monitor[..] else {
            return Err(MicroVmError::NoMonitor);
        };
        let (channel, theirs) = Channel::pair().map_err(io_error("make a socket pair"))?;
        let stderr = File::create(config.state_dir.join(STDERR))
            .map_err(io_error("make the monitor's log"))?;
        let child = Command::new(program)
            .args(args)
            .arg(&config.state_dir)
            .env_clear()
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(stderr)
            // Its own group at once: Ctrl-C is for us, who end it in good order.
            .process_group(0)
            .spawn()
            .map_err(|source| MicroVmError::Spawn {
                program: program.display().to_string(),
                source,
            })?;
        let mut monitor =
            Self { process: Process::Ours(child), channel, stats: Vec::new(), files: None };
        // A monitor that dies right away is reported below, with what it said.
        drop(monitor.channel.send(config, fds));
        monitor.await_creation(&config.state_dir)?;
        Ok(monitor)
    }

    /// Takes the monitor that waits in the directory of a prepared sandbox; its machine
    /// goes on, connected to the network behind `interface`.
    pub fn take(
        state_dir: &Path,
        interface: Option<&Interface<'_>>,
    ) -> Result<Taken, MicroVmError> {
        let call = || -> io::Result<(Channel, Process)> {
            let channel = control::call(state_dir)?;
            let pid = channel.listener_pid()?;
            // It is the monitor's, for that answers afterwards.
            let process = leftovers::open(pid)?;
            let taps: Vec<_> = interface.iter().map(|interface| interface.tap).collect();
            channel.send(&Request::Take(interface.map(Link::from)), &taps)?;
            Ok((channel, Process::Taken { pid, process }))
        };
        let (channel, process) = call().map_err(io_error("call the prepared machine"))?;
        let kept = channel.receive::<Report>(true).map_err(io_error("hear the monitor"))?;
        let Some((Report::Kept(config), fds)) = kept else { return Err(MicroVmError::NotKept) };
        let fds: Result<[OwnedFd; HANDED], _> = fds.try_into();
        let [lock, listener] = fds.map_err(|_| MicroVmError::NotKept)?;
        let mut monitor = Self { process, channel, stats: Vec::new(), files: None };
        monitor.await_creation(state_dir)?;
        Ok(Taken { monitor, config: *config, lock: lock.into(), listener: listener.into() })
    }

    /// Keeps its file server as long as the monitor.
    pub fn keep(&mut self, files: FileServer) {
        self.files = Some(files);
    }

    /// The process id of its file server, if it has one.
    pub fn files_pid(&self) -> Option<i32> {
        self.files.as_ref().map(FileServer::pid)
    }

    /// Leaves the monitor, which waits to be taken, to itself.
    pub fn leave(mut self) {
        self.process = Process::Left;
    }

    fn await_creation(&mut self, state_dir: &Path) -> Result<(), MicroVmError> {
        match self.channel.receive::<Report>(true) {
            Ok(Some((Report::Created, fds))) => self.keep_stats(fds),
            Ok(Some((Report::NotCreated(failure), _))) => {
                Err(MicroVmError::NotCreated(failure))
            }
            Ok(Some((Report::Ended { failure: Some(failure), .. }, _))) => {
                Err(MicroVmError::Guest(failure))
            }
            Ok(
                Some((
                    Report::Ended { .. } | Report::Saved(_) | Report::Kept(_) | Report::Done(_),
                    _,
                ))
                | None,
            ) => Err(self.died(state_dir)),
            Err(error) => Err(io_error("understand the monitor")(error)),
        }
    }

    fn keep_stats(&mut self, fds: Vec<OwnedFd>) -> Result<(), MicroVmError> {
        self.stats = fds
            .into_iter()
            .map(StatsReader::new)
            .collect::<io::Result<_>>()
            .map_err(io_error("read the layout of KVM's statistics"))?;
        Ok(())
    }

    /// Its process id, valid as long as it has not been [killed](Self::kill).
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Polls readable once the machine has ended or the monitor is gone.
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    /// How the machine ended, once it has; `wait` for it or only look.
    pub fn end(
        &mut self,
        wait: bool,
        state_dir: &Path,
    ) -> Result<Option<MachineEnd>, MicroVmError> {
        match self.channel.receive::<Report>(wait) {
            Ok(Some((Report::Ended { failure, .. }, _))) => {
                Ok(Some(failure.map_or(MachineEnd::PowerOff, MachineEnd::Failed)))
            }
            Ok(Some((Report::NotCreated(failure), _))) => {
                Err(MicroVmError::NotCreated(failure))
            }
            Ok(
                Some((
                    Report::Created | Report::Saved(_) | Report::Kept(_) | Report::Done(_),
                    _,
                ))
                | None,
            ) => Err(self.died(state_dir)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(io_error("understand the monitor")(error)),
        }
    }

    /// Has the machine saved to these files, after which it goes on; `None` when its
    /// processor has something to do just now.
    pub fn save(
        &mut self,
        memory: &File,
        state: &File,
        state_dir: &Path,
    ) -> Result<Option<SavedFiles>, MicroVmError> {
        // A monitor that has just died is reported below.
        drop(self.channel.send(&Request::Save, &[memory.as_fd(), state.as_fd()]));
        match self.channel.receive::<Report>(true) {
            Ok(Some((Report::Saved(outcome), _))) => saved(outcome),
            Ok(Some((Report::Ended { failure: Some(failure), .. }, _))) => {
                Err(MicroVmError::Guest(failure))
            }
            Ok(_) => Err(self.died(state_dir)),
            Err(error) => Err(io_error("understand the monitor")(error)),
        }
    }

    fn died(&mut self, state_dir: &Path) -> MicroVmError {
        // It has closed the channel, which it does only by ending.
        let status = match self.process.wait() {
            Ok(None) => "how, only its parent learns".to_owned(),
            Ok(Some(status)) if status.signal() == Some(libc::SIGBUS) => {
                return MicroVmError::MemoryLost;
            }
            Ok(Some(status)) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let stderr = std::fs::read_to_string(state_dir.join(STDERR)).unwrap_or_default();
        MicroVmError::MonitorDied { status, stderr }
    }

    /// KVM's counters now; none where KVM keeps none.
    pub fn kvm_stats(&self) -> Result<Option<KvmStats>, MicroVmError> {
        if self.stats.is_empty() {
            return Ok(None);
        }
        let mut stats = KvmStats::default();
        for reader in &self.stats {
            reader.add_to(&mut stats).map_err(io_error("read KVM's statistics"))?;
        }
        Ok(Some(stats))
    }

    /// KVM's counters now, in the order in which [`Self::kvm_stats_of`] takes them; `None`
    /// where KVM keeps none.
    pub fn kvm_values(&self) -> Option<Vec<u64>> {
        if self.stats.is_empty() {
            return None;
        }
        let values: io::Result<Vec<_>> = self.stats.iter().map(StatsReader::values).collect();
        values.ok().map(|values| values.concat())
    }

    /// KVM's counters by name, from `values` that the monitor has read.
    pub fn kvm_stats_of(&self, values: &[u64]) -> KvmStats {
        let mut stats = KvmStats::default();
        let mut rest = values;
        for reader in &self.stats {
            let (of_reader, others) = rest.split_at(reader.counters().min(rest.len()));
            reader.add(of_reader, &mut stats);
            rest = others;
        }
        stats
    }

    /// Ends it and waits until it is gone. Idempotent.
    pub fn kill(&mut self) -> Result<(), MicroVmError> {
        // Each descriptor of a VM's statistics keeps the VM.
        self.stats.clear();
        self.process.kill().map_err(io_error("kill the monitor"))?;
        self.process.wait().map(drop).map_err(io_error("wait for the monitor"))?;
        self.files = None;
        Ok(())
    }
}

impl Drop for MonitorProcess {
    fn drop(&mut self) {
        // Nothing is left to do about a monitor that cannot be killed.
        drop(self.kill());
    }
}
