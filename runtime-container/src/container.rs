//! [`Container`]: the sandbox a caller holds.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use bulkhead_runtime::{
    Claim, Clock, Error, Exit, HostProcess, Isolation, Lifetime, Record, Role, Sandbox,
    SandboxId, Signal, StateDir, StateError, Status, Stdio, TerminalSize, Timeline, Usage,
};
use oci_spec::runtime::{LinuxResources, Process, Spec};

use crate::cgroup::{self, Cgroup, Layout};
use crate::error::{ContainerError, wall};
use crate::exec;
use crate::plan::Step;
use crate::spawn::{Child, Ready};
use crate::terminal::{self, Terminal};
use crate::workload::Workload;

/// A container, whole or half built.
#[derive(Debug)]
pub(crate) struct Container {
    state: StateDir,
    record: Record,
    cgroup: Option<Box<dyn Cgroup>>,
    child: Option<Child>,
    launch: Vec<String>,
    command: String,
    timeline: Timeline,
    init: bool,
    exit: Option<Exit>,
    /// The caller's end of a terminal that is made at the start, and its size.
    awaits_terminal: Option<(Stdio, TerminalSize)>,
    terminal: Option<Terminal>,
    /// The process that is the parent of the workload, for a container from the pool.
    keeper: Option<i32>,
    /// Polls readable, as every file does: there is nothing to wait for in a
    /// container that has no process.
    directory: File,
    /// Whether dropping it ends the container.
    owned: bool,
    released: bool,
}

/// What a container is begun with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub state: StateDir,
    pub record: Record,
    pub cgroup: Option<Box<dyn Cgroup>>,
    pub command: String,
    /// The child's last steps, described.
    pub launch: Vec<String>,
    pub timeline: Timeline,
    /// PID 1 is our init.
    pub init: bool,
}

impl Parts {
    /// Those of a container whose workload is not known, or not ours to start.
    pub(crate) fn without_workload(
        state: StateDir,
        record: Record,
        cgroup: Option<Box<dyn Cgroup>>,
    ) -> Self {
        Self {
            state,
            record,
            cgroup,
            command: String::new(),
            launch: Vec::new(),
            timeline: Timeline::default(),
            init: false,
        }
    }
}

impl Container {
    /// A container of which only the record exists.
    pub(crate) fn new(parts: Parts) -> Result<Self, Error> {
        let directory = File::open(parts.state.path())
            .map_err(ContainerError::io("open the state directory"))
            .map_err(wall("opening the container"))?;
        Ok(Self {
            directory,
            state: parts.state,
            record: parts.record,
            cgroup: parts.cgroup,
            child: None,
            launch: parts.launch,
            command: parts.command,
            timeline: parts.timeline,
            init: parts.init,
            exit: None,
            awaits_terminal: None,
            terminal: None,
            keeper: None,
            // Until it is complete, whatever its lifetime.
            owned: true,
            released: false,
        })
    }

    /// Finds a container by its record.
    pub(crate) fn load(root: &Path, id: &SandboxId) -> Result<Self, Error> {
        let state = StateDir::open(root, id)?;
        let record = state.read()?;
        let spec = state.read_config().ok();
        let path = match &spec {
            Some(spec) => cgroup::path(spec, id).map_err(wall("finding the container"))?,
            None => cgroup::default_path(id),
        };
        let cgroup = Layout::detect().ok().map(|layout| cgroup::at(&layout, &path));
        let workload = record.pid.and_then(Workload::open);
        let mut container = Self::new(Parts::without_workload(state, record, cgroup))?;
        container.owned = false;
        // The number may belong to another process by now: it is ours only while
        // it is in the container's cgroup.
        container.child =
            workload.filter(|workload| container.holds(workload.pid)).map(Child::found);
        if container.child.is_none() && container.record.status != Status::Creating {
            container.record.status = Status::Stopped;
        }
        Ok(container)
    }

    fn holds(&self, pid: i32) -> bool {
        let cgroup = self.cgroup.as_ref().map(|cgroup| cgroup.processes().unwrap_or_default());
        match cgroup {
            Some(pids) if !pids.is_empty() => pids.contains(&pid),
            // Without a cgroup the container lives as long as its owner.
            _ => self.state.is_owned(),
        }
    }

    pub(crate) fn cgroup(&self) -> Option<&dyn Cgroup> {
        self.cgroup.as_deref()
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.record.lifetime == Lifetime::Attached
    }

    pub(crate) fn forget_cgroup(&mut self) {
        self.cgroup = None;
    }

    pub(crate) fn state(&self) -> &StateDir {
        &self.state
    }

    /// Owns what was the prepared sandbox `claim`, having got its `lock` from `keeper`.
    pub(crate) fn take_over(
        &mut self,
        claim: Claim,
        lock: File,
        keeper: i32,
    ) -> Result<(), Error> {
        self.keeper = Some(keeper);
        Ok(claim.take_over(&mut self.state, lock)?)
    }

    /// Notes that it waits for whoever will complete it, and leaves it.
    pub(crate) fn leave_prepared(
        mut self,
        leave: impl FnOnce() -> Result<(), StateError>,
    ) -> Result<(), Error> {
        self.note(Status::Created);
        self.state.write(&self.record)?;
        leave()?;
        self.state.hand_over();
        self.owned = false;
        Ok(())
    }

    /// What the first process of `spec` is given as its streams until it starts: those of
    /// the caller, or nothing if it will have a terminal, which they are at the other
    /// end of.
    pub(crate) fn keep_for_terminal(
        &mut self,
        spec: &Spec,
        stdio: Stdio,
    ) -> Result<Stdio, ContainerError> {
        let process = spec.process().as_ref();
        let Some(process) = process.filter(|it| it.terminal() == Some(true)) else {
            return Ok(stdio);
        };
        self.awaits_terminal = Some((stdio, TerminalSize::of_console(process)));
        Stdio::null().map_err(ContainerError::io("open /dev/null"))
    }

    /// Makes the terminal the workload is to have; its end of it.
    fn make_terminal(&mut self) -> Result<Option<OwnedFd>, ContainerError> {
        let child = self.child.as_ref().ok_or(ContainerError::Died)?;
        let Some((stdio, size)) = self.awaits_terminal.take() else { return Ok(None) };
        let (terminal, theirs) = Terminal::open(child.workload.pid, size, stdio)?;
        terminal.watch(child.workload.event_fd())?;
        self.terminal = Some(terminal);
        Ok(Some(theirs))
    }

    pub(crate) fn adopt(&mut self, child: Child) -> &Child {
        self.child.insert(child)
    }

    /// Waits for the child to have taken the steps of `setup`.
    pub(crate) fn ready(&self, setup: &[Step]) -> Result<Ready, ContainerError> {
        self.child.as_ref().ok_or(ContainerError::Died)?.ready(setup)
    }

    /// Waits for the child to have taken the steps of `setup`: the container is
    /// complete then and waits for its start. `step` is what the caller is doing.
    pub(crate) fn set_up(&mut self, setup: &[Step], step: &'static str) -> Result<(), Error> {
        let ready = self.ready(setup).map_err(wall(step))?;
        self.timeline.mark_at(Clock::RootfsReady, ready.rootfs);
        self.timeline.mark_at(Clock::SandboxCreated, ready.created);
        self.note(Status::Created);
        // Only its creator can start it. While the creator is bound to live as
        // long, the record has nothing to add until it does.
        if !self.is_attached() {
            self.state.write(&self.record)?;
        }
        Ok(())
    }

    fn note(&mut self, status: Status) {
        self.record.status = status;
        self.record.pid = self.child.as_ref().map(|child| child.workload.pid);
    }

    fn note_status(&mut self, status: Status) -> Result<(), Error> {
        self.record.status = status;
        Ok(self.state.write(&self.record)?)
    }

    /// The cgroup of a container that runs, or is paused.
    fn held_by_cgroup(&self) -> Result<&dyn Cgroup, Error> {
        self.running()?;
        self.cgroup().ok_or_else(|| unsupported("pausing without a cgroup"))
    }

    /// A process that is held does not die on version 1 of cgroups.
    fn let_die(&self) -> Result<(), ContainerError> {
        Ok(self.cgroup.as_ref().map_or(Ok(()), |cgroup| cgroup.thaw())?)
    }

    fn running(&self) -> Result<&Workload, Error> {
        let not_running = || Error::NotRunning { id: self.record.id.clone() };
        let child = self.child.as_ref().filter(|_| self.exit.is_none() && !self.released);
        child.map(|child| &child.workload).ok_or_else(not_running)
    }
}

impl Sandbox for Container {
    fn id(&self) -> &SandboxId {
        &self.record.id
    }

    /// Takes about a millisecond, so `interrupt` is not looked at.
    fn start(&mut self, _interrupt: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        let not_running = || Error::NotRunning { id: self.record.id.clone() };
        self.child.as_ref().ok_or_else(not_running)?;
        let terminal = self.make_terminal().map_err(wall("starting the workload"))?;
        let not_running = || Error::NotRunning { id: self.record.id.clone() };
        let child = self.child.as_mut().ok_or_else(not_running)?;
        if !child.launch(&self.launch, &self.command, terminal)? {
            let what = "starting a workload from another process than its creator's";
            return Err(unsupported(what));
        }
        self.timeline.mark(Clock::WorkloadExec);
        self.note(Status::Running);
        self.state.write(&self.record)?;
        self.owned = self.is_attached();
        Ok(())
    }

    fn exec(&mut self, process: &Process, stdio: Stdio) -> Result<Box<dyn Sandbox>, Error> {
        let spec = self.state.read_config()?;
        let workload = self.running()?;
        let cgroup = self.cgroup.as_deref();
        // The process would be held before it is one.
        if cgroup.is_some_and(Cgroup::is_frozen) {
            return Err(Error::Paused { id: self.record.id.clone() });
        }
        Ok(Box::new(exec::exec(&self.record.id, workload, cgroup, &spec, process, stdio)?))
    }

    fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        const STEP: &str = "signalling the workload";
        if !self.running()?.signal(signal).map_err(wall(STEP))? {
            return Err(Error::NotRunning { id: self.record.id.clone() });
        }
        if signal == Signal::KILL {
            self.let_die().map_err(wall(STEP))?;
        }
        Ok(())
    }

    fn pause(&mut self) -> Result<(), Error> {
        const STEP: &str = "pausing the container";
        let cgroup = self.held_by_cgroup()?;
        if cgroup.is_frozen() {
            return Err(Error::Paused { id: self.record.id.clone() });
        }
        cgroup.freeze().map_err(wall(STEP))?;
        self.note_status(Status::Paused)
    }

    fn unpause(&mut self) -> Result<(), Error> {
        const STEP: &str = "unpausing the container";
        if !self.held_by_cgroup()?.is_frozen() {
            return Err(Error::NotPaused { id: self.record.id.clone() });
        }
        // First, since from the next step on it may end and its owner say so.
        self.note_status(Status::Running)?;
        self.held_by_cgroup()?.thaw().map_err(wall(STEP))
    }

    fn resize(&mut self, size: TerminalSize) -> Result<(), Error> {
        self.running()?;
        terminal::resize(self.terminal.as_ref(), size)
    }

    fn update(&mut self, resources: &LinuxResources) -> Result<(), Error> {
        self.running()?;
        let cgroup = self.cgroup().ok_or_else(|| unsupported("limits without a cgroup"))?;
        cgroup.update(resources).map_err(wall("changing the limits"))
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        match (&self.terminal, &self.child) {
            (Some(terminal), _) => terminal.event_fd(),
            (None, Some(child)) => child.workload.event_fd(),
            (None, None) => self.directory.as_fd(),
        }
    }

    fn wait(&mut self, timeout: Option<Duration>) -> Result<Option<Exit>, Error> {
        if self.exit.is_some() {
            return Ok(self.exit);
        }
        let not_running = || Error::NotRunning { id: self.record.id.clone() };
        let child = self.child.as_mut().ok_or_else(not_running)?;
        let status = terminal::wait(self.terminal.as_mut(), &mut child.workload, timeout)
            .map_err(wall("waiting for the workload"))?;
        let Some(status) = status else { return Ok(None) };
        self.timeline.mark(Clock::ExitObserved);
        let oom_killed = self.cgroup.as_ref().is_some_and(|cgroup| cgroup.oom_kills() > 0);
        self.exit = Some(Exit { status, oom_killed });
        Ok(self.exit)
    }

    fn usage(&self) -> Result<Usage, Error> {
        Ok(self.cgroup.as_ref().map(|cgroup| cgroup.usage()).unwrap_or_default())
    }

    fn processes(&self) -> Result<Vec<HostProcess>, Error> {
        let pids = match &self.cgroup {
            Some(cgroup) => cgroup.processes().map_err(wall("listing processes"))?,
            None => self.running().map(|workload| vec![workload.pid]).unwrap_or_default(),
        };
        let init = self.child.as_ref().filter(|_| self.init).map(|child| child.workload.pid);
        let role = |pid| if Some(pid) == init { Role::Helper } else { Role::Workload };
        let keeper = self.keeper.filter(|_| self.exit.is_none());
        let keeper = keeper.map(|pid| HostProcess { pid, role: Role::Helper });
        let inside = pids.into_iter().map(|pid| HostProcess { pid, role: role(pid) });
        Ok(inside.chain(keeper).collect())
    }

    fn timeline(&self) -> Timeline {
        self.timeline
    }

    fn delete(&mut self) -> Result<(), Error> {
        const STEP: &str = "removing the container";
        if self.released {
            return Ok(());
        }
        if self.exit.is_none() && self.child.is_some() {
            self.let_die().map_err(wall(STEP))?;
        }
        if self.exit.is_none()
            && let Some(child) = &mut self.child
        {
            // The end of PID 1 is the end of every process in its namespace.
            child.workload.kill().map_err(wall(STEP))?;
        }
        if let Some(cgroup) = &self.cgroup {
            cgroup.remove().map_err(wall(STEP))?;
        }
        self.state.remove()?;
        self.timeline.mark(Clock::Released);
        self.released = true;
        Ok(())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.owned && !self.released {
            // Nobody is left to tell; what remains is found by `purge`.
            let _ = self.delete();
        }
    }
}

fn unsupported(what: &'static str) -> Error {
    Error::Unsupported { isolation: Isolation::Container, what }
}
