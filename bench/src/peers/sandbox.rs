//! One container made by a peer.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use bulkhead_runtime::{
    Clock, Error, Exit, ExitStatus, HostProcess, Role, Sandbox, SandboxId, Signal, StateDir,
    Stdio, TerminalSize, Timeline, Usage,
};
use oci_spec::runtime::{LinuxResources, Process};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, pidfd_send_signal, waitid,
};

use super::call::{Done, Given, Program, reader_of};
use super::cgroup::Cgroup;
use super::error::PeerError;
use super::exec::OciExec;
use super::oci::clear_away;
use super::{ISOLATION, wall};
use crate::poll::wait_readable;

/// How long the peer's `kill` has to show an effect before it is made up for.
const HEEDED_WITHIN: Duration = Duration::from_secs(1);

/// How long a killed workload may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// What a sandbox is made of.
#[derive(Debug)]
pub struct Parts {
    pub id: SandboxId,
    pub program: Program,
    pub dir: StateDir,
    /// The container's first process.
    pub pid: i32,
    pub stdio: Stdio,
    pub timeline: Timeline,
}

/// A container made by a peer; its first process is a child of ours.
#[derive(Debug)]
pub struct OciSandbox {
    id: SandboxId,
    program: Program,
    dir: StateDir,
    pid: i32,
    pidfd: OwnedFd,
    cgroup: Cgroup,
    /// The pipe the workload will write to, until it runs.
    output: Option<File>,
    timeline: Timeline,
    exit: Option<Exit>,
    deleted: bool,
}

impl OciSandbox {
    /// Takes over what `create` has made. Our copies of the streams are closed: only
    /// the container holds them now.
    pub fn new(parts: Parts) -> Result<Self, PeerError> {
        let Parts { id, program, dir, pid, stdio, timeline } = parts;
        let not_ours = || PeerError::NotOurs(pid);
        let process = Pid::from_raw(pid).ok_or_else(not_ours)?;
        let pidfd = pidfd_open(process, PidfdFlags::empty()).map_err(|_| not_ours())?;
        // Fails for a process that is not our child, and changes nothing.
        look(&pidfd, WaitIdOptions::NOWAIT).map_err(|_| not_ours())?;
        let output = reader_of(&stdio.stdout);
        let cgroup = Cgroup::of(&id);
        let (exit, deleted) = (None, false);
        Ok(Self { id, program, dir, pid, pidfd, cgroup, output, timeline, exit, deleted })
    }

    fn call(&self, arguments: &[&str]) -> Result<(), PeerError> {
        self.program.call(&self.id, self.dir.path(), arguments, Given::default()).map(drop)
    }

    /// Ends the workload as an engine does: by the runtime's `kill`, and without it
    /// if that does not work.
    fn kill(&mut self) -> Result<(), Error> {
        if self.exit.is_some() {
            return Ok(());
        }
        if self.call(&["kill", self.id.as_str(), "KILL"]).is_ok()
            && self.wait(Some(HEEDED_WITHIN))?.is_some()
        {
            return Ok(());
        }
        // It may have ended in the meantime.
        let _ = pidfd_send_signal(&self.pidfd, rustix::process::Signal::KILL);
        match self.wait(Some(GONE_WITHIN))? {
            Some(_) => Ok(()),
            None => Err(wall("killing the workload")(PeerError::io(
                "end the processes of",
                self.dir.path(),
            )(
                io::ErrorKind::TimedOut.into()
            ))),
        }
    }

    fn role(&self, pid: i32) -> Role {
        // A runtime such as gVisor's stays: as the kernel of the sandbox, and as its
        // helper for files.
        let own = std::fs::read_link(format!("/proc/{pid}/exe"))
            .is_ok_and(|exe| exe == self.program.path);
        if !own {
            return Role::Workload;
        }
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let kernel = line.split(|&byte| byte == 0).any(|argument| argument == b"boot");
        if kernel { Role::Monitor } else { Role::Helper }
    }
}

/// How the process ended, if it has; collects it unless `how` says otherwise.
fn look(pidfd: &OwnedFd, how: WaitIdOptions) -> io::Result<Option<ExitStatus>> {
    loop {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | how;
        match waitid(WaitId::PidFd(pidfd.as_fd()), options) {
            Ok(status) => return Ok(status.as_ref().map(exit_status)),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn exit_status(status: &WaitIdStatus) -> ExitStatus {
    let killed_by = status.terminating_signal().and_then(Signal::new);
    let code = || status.exit_status().and_then(|code| u8::try_from(code).ok());
    killed_by
        .map_or_else(|| ExitStatus::Exited(code().unwrap_or(u8::MAX)), ExitStatus::Signaled)
}

impl Sandbox for OciSandbox {
    fn id(&self) -> &SandboxId {
        &self.id
    }

    fn start(&mut self, interrupt: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        let given = Given {
            interrupt,
            // The workload may have written before the call has come to its end.
            watched: self.output.as_ref().map(AsFd::as_fd),
            ..Given::default()
        };
        let arguments = ["start", self.id.as_str()];
        let done = self.program.call(&self.id, self.dir.path(), &arguments, given);
        let done = done.map_err(wall("starting the workload"))?;
        self.output = None;
        match done {
            Done::Interrupted => Err(Error::Interrupted { id: self.id.clone() }),
            Done::Finished(seen) => {
                let now = bulkhead_runtime::Instant::now();
                // Output proves that the workload was running by then.
                let running = seen.output.map_or(now, |output| output.min(now));
                self.timeline.mark_at(Clock::WorkloadExec, running);
                if let Some(output) = seen.output {
                    self.timeline.mark_at(Clock::FirstOutput, output);
                }
                Ok(())
            }
        }
    }

    fn exec(&mut self, process: &Process, stdio: Stdio) -> Result<Box<dyn Sandbox>, Error> {
        if self.exit.is_some() || self.deleted {
            return Err(Error::NotRunning { id: self.id.clone() });
        }
        let exec = OciExec::start(&self.id, &self.program, self.dir.path(), process, &stdio);
        Ok(Box::new(exec.map_err(wall("starting a further process"))?))
    }

    fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        if self.wait(Some(Duration::ZERO))?.is_some() {
            return Err(Error::NotRunning { id: self.id.clone() });
        }
        self.call(&["kill", self.id.as_str(), &signal.number().to_string()])
            .map_err(wall("sending a signal"))
    }

    fn pause(&mut self) -> Result<(), Error> {
        self.call(&["pause", self.id.as_str()]).map_err(wall("pausing"))
    }

    fn unpause(&mut self) -> Result<(), Error> {
        self.call(&["resume", self.id.as_str()]).map_err(wall("unpausing"))
    }

    fn resize(&mut self, _size: TerminalSize) -> Result<(), Error> {
        Err(Error::Unsupported { isolation: ISOLATION, what: "a terminal" })
    }

    fn update(&mut self, _resources: &LinuxResources) -> Result<(), Error> {
        Err(Error::Unsupported { isolation: ISOLATION, what: "changing limits" })
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    fn wait(&mut self, timeout: Option<Duration>) -> Result<Option<Exit>, Error> {
        if let Some(exit) = self.exit {
            return Ok(Some(exit));
        }
        let failed = |error| {
            wall("waiting for the workload")(PeerError::io("wait in", Path::new("/proc"))(
                error,
            ))
        };
        let deadline = timeout.map(|timeout| std::time::Instant::now() + timeout);
        loop {
            if let Some(status) = look(&self.pidfd, WaitIdOptions::empty()).map_err(failed)? {
                self.timeline.mark(Clock::ExitObserved);
                let killed = matches!(status, ExitStatus::Signaled(Signal::KILL));
                let oom_killed = killed && self.cgroup.oom_kills() > 0;
                self.exit = Some(Exit { status, oom_killed });
                return Ok(self.exit);
            }
            let left =
                deadline.map(|at| at.saturating_duration_since(std::time::Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            wait_readable([Some(self.pidfd.as_fd())], left).map_err(failed)?;
        }
    }

    fn usage(&self) -> Result<Usage, Error> {
        Ok(self.cgroup.usage())
    }

    fn processes(&self) -> Result<Vec<HostProcess>, Error> {
        if self.exit.is_some() {
            return Ok(Vec::new());
        }
        let mut pids = self.cgroup.processes();
        if !pids.contains(&self.pid) {
            // A runtime told to leave cgroups alone.
            pids.push(self.pid);
        }
        Ok(pids.into_iter().map(|pid| HostProcess { pid, role: self.role(pid) }).collect())
    }

    fn timeline(&self) -> Timeline {
        self.timeline
    }

    fn delete(&mut self) -> Result<(), Error> {
        if self.deleted {
            return Ok(());
        }
        self.kill()?;
        let removed = self.call(&["delete", self.id.as_str()]).and_then(|()| {
            self.cgroup.left().map_or(Ok(()), |path| {
                let command = "delete".to_owned();
                Err(PeerError::Left { command, path: path.to_owned() })
            })
        });
        match removed {
            Ok(()) => self.dir.remove()?,
            Err(error) => {
                clear_away(&self.id, &self.dir)?;
                self.deleted = true;
                return Err(wall("removing the container")(error));
            }
        }
        self.deleted = true;
        self.timeline.mark(Clock::Released);
        Ok(())
    }
}

impl Drop for OciSandbox {
    fn drop(&mut self) {
        if self.delete().is_err() {
            // The peer did not do its part; what can be done without it is done.
            let _ = clear_away(&self.id, &self.dir);
            let _ = look(&self.pidfd, WaitIdOptions::empty());
        }
    }
}
