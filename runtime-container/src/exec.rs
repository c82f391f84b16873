//! A further process in a running container.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use bulkhead_runtime::{
    Clock, Error, Exit, HostProcess, Instant, Isolation, Role, Sandbox, SandboxId, Signal,
    Stdio, TerminalSize, Timeline, Usage,
};
use oci_spec::runtime::{LinuxNamespaceType as Kind, LinuxResources, Process, Spec};

use crate::cgroup::{Cgroup, Entry};
use crate::child::{Launch, Then};
use crate::create::joining;
use crate::error::{ContainerError, wall};
use crate::plan::{self, Step};
use crate::spawn::{self, Child, Recipe};
use crate::sys;
use crate::terminal::{self, Terminal};
use crate::workload::Workload;

const STEP: &str = "starting a process in the container";

/// A process beside a container's workload. It has nothing of its own to
/// release.
#[derive(Debug)]
pub(crate) struct Exec {
    id: SandboxId,
    child: Child,
    terminal: Option<Terminal>,
    timeline: Timeline,
    exit: Option<Exit>,
}

/// Starts `process` among the processes of `workload`, with the namespaces,
/// cgroup and seccomp filter of the container and, where it names none, its
/// capabilities.
pub(crate) fn exec(
    id: &SandboxId,
    workload: &Workload,
    cgroup: Option<&dyn Cgroup>,
    spec: &Spec,
    process: &Process,
    stdio: Stdio,
) -> Result<Exec, Error> {
    let mut timeline = Timeline::starting_at(Instant::now());
    let process = inherit(process, spec);
    let (launch, command) = plan::exec(&process, spec).map_err(wall(STEP))?;
    let entry = cgroup.map(Cgroup::entry).transpose().map_err(wall(STEP))?;
    let target = workload.event_fd();
    let setup = join_steps(entry.as_ref(), target.as_raw_fd(), spec);
    let (terminal, stdio) = at_terminal(&process, workload, stdio).map_err(wall(STEP))?;
    let launched =
        Launch { steps: &launch, command: &command, init: false, terminal: terminal.is_some() };
    let then = Then::Launch(launched);
    let recipe = Recipe { clone_flags: 0, setup: &setup, then, entry: entry.as_ref() };
    let mut child =
        in_pid_namespace(target, || spawn::spawn(&recipe, stdio)).map_err(wall(STEP))?;
    let described: Vec<String> = launch.iter().map(ToString::to_string).collect();
    let name =
        process.args().as_ref().and_then(|args| args.first()).cloned().unwrap_or_default();
    let started = child
        .ready(&setup)
        .map_err(wall(STEP))
        .and_then(|_| child.launch(&described, &name, None));
    if let Err(error) = started {
        let _ = child.workload.kill();
        return Err(error);
    }
    timeline.mark(Clock::WorkloadExec);
    if let Some(terminal) = &terminal {
        terminal.watch(child.workload.event_fd()).map_err(wall(STEP))?;
    }
    Ok(Exec { id: id.clone(), child, terminal, timeline, exit: None })
}

/// The terminal `process` is to have, if any, and what it gets as its streams.
fn at_terminal(
    process: &Process,
    workload: &Workload,
    stdio: Stdio,
) -> Result<(Option<Terminal>, Stdio), ContainerError> {
    if process.terminal() != Some(true) {
        return Ok((None, stdio));
    }
    let size = TerminalSize::of_console(process);
    let (terminal, stdin) = Terminal::open(workload.pid, size, stdio)?;
    let copy = || stdin.try_clone().map_err(ContainerError::io("duplicate a terminal"));
    let (stdout, stderr) = (copy()?, copy()?);
    Ok((Some(terminal), Stdio { stdin, stdout, stderr }))
}

/// `process` with what it leaves open filled in from the container's own.
fn inherit(process: &Process, spec: &Spec) -> Process {
    let mut process = process.clone();
    if let Some(own) = spec.process() {
        if process.capabilities().is_none() {
            process.set_capabilities(own.capabilities().clone());
        }
        if own.no_new_privileges() == Some(true) {
            process.set_no_new_privileges(Some(true));
        }
        if process.rlimits().is_none() {
            process.set_rlimits(own.rlimits().clone());
        }
    }
    process
}

/// Into the container, in one call where namespaces are concerned. The pid
/// namespace is that of the parent's choosing already.
fn join_steps(entry: Option<&Entry>, target: i32, spec: &Spec) -> Vec<Step> {
    let mut steps = joining(entry);
    let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let mut kinds = 0;
    for namespace in listed.into_iter().flatten() {
        if namespace.typ() != Kind::Pid {
            kinds |= namespace.typ() as i32;
        }
    }
    if !rustix::process::geteuid().is_root() {
        kinds |= Kind::User as i32;
    }
    // Processes of the container can see this one from here on.
    steps.push(Step::NotDumpable);
    steps.push(Step::Enter { fd: target, kind: kinds });
    steps.push(Step::DieWithParent);
    steps
}

/// Makes a child in the pid namespace of `target`.
///
/// Only children can be in another pid namespace than their parent, so the
/// calling thread points its own there and back: that spares a second fork.
fn in_pid_namespace(
    target: BorrowedFd<'_>,
    spawn: impl FnOnce() -> Result<Child, ContainerError>,
) -> Result<Child, ContainerError> {
    let enter = |fd: BorrowedFd<'_>| {
        sys::setns(fd.as_raw_fd(), libc::CLONE_NEWPID)
            .map_err(|errno| ContainerError::io("enter the pid namespace")(errno.into()))
    };
    let own = File::open("/proc/thread-self/ns/pid")
        .map_err(ContainerError::io("open the own pid namespace"))?;
    enter(target)?;
    let child = spawn();
    match (enter(own.as_fd()), child) {
        (Ok(()), child) => child,
        (Err(error), Ok(mut child)) => {
            let _ = child.workload.kill();
            Err(error)
        }
        (Err(error), Err(_)) => Err(error),
    }
}

impl Sandbox for Exec {
    fn id(&self) -> &SandboxId {
        &self.id
    }

    /// It was started when it was made.
    fn start(&mut self, _interrupt: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        Ok(())
    }

    fn exec(&mut self, _process: &Process, _stdio: Stdio) -> Result<Box<dyn Sandbox>, Error> {
        Err(unsupported("a process inside another process"))
    }

    fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        let sent =
            self.child.workload.signal(signal).map_err(wall("signalling the process"))?;
        if sent { Ok(()) } else { Err(Error::NotRunning { id: self.id.clone() }) }
    }

    fn pause(&mut self) -> Result<(), Error> {
        Err(unsupported("pausing a single process"))
    }

    fn unpause(&mut self) -> Result<(), Error> {
        Err(unsupported("pausing a single process"))
    }

    fn resize(&mut self, size: TerminalSize) -> Result<(), Error> {
        terminal::resize(self.terminal.as_ref(), size)
    }

    fn update(&mut self, _resources: &LinuxResources) -> Result<(), Error> {
        Err(unsupported("limits of a single process"))
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        match &self.terminal {
            Some(terminal) => terminal.event_fd(),
            None => self.child.workload.event_fd(),
        }
    }

    fn wait(&mut self, timeout: Option<Duration>) -> Result<Option<Exit>, Error> {
        let status = terminal::wait(self.terminal.as_mut(), &mut self.child.workload, timeout)
            .map_err(wall("waiting for the process"))?;
        let Some(status) = status else { return Ok(None) };
        self.timeline.mark(Clock::ExitObserved);
        self.exit = Some(Exit { status, oom_killed: false });
        Ok(self.exit)
    }

    /// The accounting is the container's.
    fn usage(&self) -> Result<Usage, Error> {
        Ok(Usage::default())
    }

    fn processes(&self) -> Result<Vec<HostProcess>, Error> {
        let process = HostProcess { pid: self.child.workload.pid, role: Role::Workload };
        Ok(if self.exit.is_none() { vec![process] } else { Vec::new() })
    }

    fn timeline(&self) -> Timeline {
        self.timeline
    }

    fn delete(&mut self) -> Result<(), Error> {
        if self.exit.is_none() {
            self.child.workload.kill().map_err(wall("ending the process"))?;
        }
        self.timeline.mark(Clock::Released);
        Ok(())
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        let _ = self.delete();
    }
}

fn unsupported(what: &'static str) -> Error {
    Error::Unsupported { isolation: Isolation::Container, what }
}
