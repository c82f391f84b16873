//! The two traits every wall implements, and what they exchange.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use oci_spec::runtime::{LinuxResources, Process};
use serde::{Deserialize, Serialize};

use crate::{
    Bundle, Claim, Error, Exit, HostProcess, Instant, Interface, PlacedFile, PoolKey,
    SandboxId, Signal, Stdio, TerminalSize, Timeline, Usage,
};

/// Which kind of wall stands between a workload and the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// No wall: a child process of the caller, in a directory.
    Native,
    /// Linux namespaces, cgroups, capabilities and seccomp on the host kernel.
    Container,
    /// A KVM virtual machine with a kernel of its own.
    MicroVm,
}

impl Isolation {
    /// The name used on the command line and in results.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Container => "container",
            Self::MicroVm => "microvm",
        }
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Isolation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Native, Self::Container, Self::MicroVm]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| {
                format!("`{text}` is not an isolation (native, container or microvm)")
            })
    }
}

/// Whether a runtime can work on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Availability {
    /// Everything it needs is here.
    Ready,
    /// Something is missing; nothing was attempted.
    Unavailable(Vec<Missing>),
}

impl Availability {
    /// True when nothing is missing.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready)
    }
}

/// One thing a runtime needs and does not find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// What is not there, for example `/dev/kvm`.
    pub what: String,
    /// How a user gets it, as an instruction.
    pub remedy: String,
}

/// What a runtime can do beyond running a workload to its end.
///
/// A runtime that lacks a capability refuses the request with
/// [`Error::Unsupported`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "a set of independent facts")]
pub struct Capabilities {
    /// Further processes can be started in a running sandbox.
    pub exec: bool,
    /// Memory, CPU and pids limits of the bundle are enforced.
    pub limits: bool,
    /// The workload gets a network stack of its own.
    pub private_network: bool,
    /// The workload runs on a kernel of its own.
    pub private_kernel: bool,
    /// Sandboxes may outlive the process that created them.
    pub detached: bool,
    /// Sandboxes can be prepared ahead of the request for them.
    pub prepare: bool,
}

/// How long a sandbox lives relative to its creator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lifetime {
    /// The sandbox is killed when the creating process dies, however it dies.
    Attached,
    /// The sandbox lives on until it is deleted.
    Detached,
}

/// The upper directory that a container leaves in [`Create::changes`].
pub const UPPER: &str = "upper";
/// The archive of one that a microVM leaves there.
pub const UPPER_ARCHIVE: &str = "upper.tar";

/// What [`Runtime::create`] is asked for.
#[derive(Debug)]
pub struct Create<'a> {
    /// Name of the new sandbox; must not be in use.
    pub id: &'a SandboxId,
    /// Root filesystem and runtime-spec configuration.
    pub bundle: &'a Bundle,
    /// The workload's standard streams.
    pub stdio: Stdio,
    /// Whether the sandbox dies with its creator.
    pub lifetime: Lifetime,
    /// Run a minimal init as PID 1 that forwards signals and reaps orphans,
    /// with the workload as its child (docker's `--init`).
    pub init: bool,
    /// The network card of a microVM.
    pub interface: Option<Interface<'a>>,
    /// Files laid over the image's.
    pub files: &'a [PlacedFile],
    /// An empty directory in which the writable layer is kept for the caller: a container
    /// leaves it there as an overlayfs upper directory, [`UPPER`]; a microVM, once its
    /// workload has ended, as an archive of one, [`UPPER_ARCHIVE`], for which it needs
    /// the stream: the workload's standard output goes where its errors go then.
    pub changes: Option<&'a Path>,
    /// The instant at which the sandbox was asked for: the `request` clock.
    pub requested: Instant,
}

impl<'a> Create<'a> {
    /// Asks, now, for a sandbox that dies with its creator and has the workload
    /// itself as PID 1.
    #[must_use]
    pub fn attached(id: &'a SandboxId, bundle: &'a Bundle, stdio: Stdio) -> Self {
        let (lifetime, requested) = (Lifetime::Attached, Instant::now());
        let (init, interface, files, changes) = (false, None, &[][..], None);
        Self { id, bundle, stdio, lifetime, init, interface, files, changes, requested }
    }

    /// Refuses, for runtimes that cannot, to keep the writable layer.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] when that is asked for.
    pub fn refuse_changes(&self, isolation: Isolation) -> Result<(), Error> {
        match self.changes {
            None => Ok(()),
            Some(_) => {
                Err(Error::Unsupported { isolation, what: "keeping what a workload changes" })
            }
        }
    }
}

/// What [`Runtime::prepare`] is asked for.
#[derive(Debug)]
pub struct Prepare<'a> {
    /// Name of the new sandbox; must not be in use.
    pub id: &'a SandboxId,
    /// Root filesystem and configuration; of the latter only what
    /// [`PoolKey`](crate::pool::PoolKey) does not leave out.
    pub bundle: &'a Bundle,
    /// The image, as it was called.
    pub image: &'a str,
    /// Descriptors that stay open as long as the sandbox waits: the image's, which
    /// keep it from being removed.
    pub held: &'a [BorrowedFd<'a>],
}

/// One kind of wall, able to create sandboxes.
pub trait Runtime: Send + Sync {
    /// Name in results and on the command line: `container`, `crun`, …
    fn name(&self) -> &str;

    /// The kind of wall.
    fn isolation(&self) -> Isolation;

    /// Whether it can work on this host, without changing anything.
    fn availability(&self) -> Availability;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Builds a sandbox around `request.bundle` up to, not including, the
    /// start of the workload.
    ///
    /// # Errors
    ///
    /// Any failure, after which nothing of the sandbox remains.
    fn create(&self, request: Create<'_>) -> Result<Box<dyn Sandbox>, Error>;

    /// Builds all of a sandbox that does not depend on its command, and leaves it
    /// in the [pool](crate::pool) to outlive the caller.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] when [`Capabilities::prepare`] is false; any other
    /// failure, after which nothing of the sandbox remains.
    fn prepare(&self, _request: Prepare<'_>) -> Result<(), Error> {
        Err(Error::Unsupported { isolation: self.isolation(), what: "preparing sandboxes" })
    }

    /// What is alike in all prepared sandboxes that fit `bundle`.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] when [`Capabilities::prepare`] is false; when the key
    /// cannot be made.
    fn pool_key(&self, _bundle: &Bundle) -> Result<PoolKey, Error> {
        Err(Error::Unsupported { isolation: self.isolation(), what: "preparing sandboxes" })
    }

    /// Takes a prepared sandbox that fits `bundle` out of the pool, if there is one.
    ///
    /// # Errors
    ///
    /// When the pool cannot be read.
    fn claim(&self, _bundle: &Bundle) -> Result<Option<Claim>, Error> {
        Ok(None)
    }

    /// As [`Runtime::create`], of the prepared sandbox `claim`, which fits
    /// `request.bundle`.
    ///
    /// # Errors
    ///
    /// Any failure, after which nothing of the sandbox remains.
    fn complete(&self, _claim: Claim, _request: Create<'_>) -> Result<Box<dyn Sandbox>, Error> {
        Err(Error::Unsupported { isolation: self.isolation(), what: "prepared sandboxes" })
    }

    /// Finds a sandbox that another process created, from its on-disk record.
    ///
    /// # Errors
    ///
    /// [`Error::State`] when there is no such sandbox or its record is damaged.
    fn load(&self, id: &SandboxId) -> Result<Box<dyn Sandbox>, Error>;

    /// Removes everything that `id` may own (processes, cgroups, directories),
    /// also when its record is missing or half written. Idempotent.
    ///
    /// # Errors
    ///
    /// When something of it could not be removed.
    fn purge(&self, id: &SandboxId) -> Result<(), Error>;
}

/// A sandbox: a wall with one workload behind it.
///
/// Dropping an attached sandbox kills the workload and releases everything.
pub trait Sandbox: Send {
    /// Its name.
    fn id(&self) -> &SandboxId;

    /// Starts the workload and returns once it has been exec'ed.
    ///
    /// A start may take seconds (a microVM boots its kernel): it gives up when
    /// `interrupt` becomes readable, without reading from it. A `signalfd` or an
    /// `eventfd` serves.
    ///
    /// # Errors
    ///
    /// [`Error::WorkloadNotFound`] or [`Error::WorkloadNotExecutable`] when the
    /// command cannot be run, [`Error::Interrupted`]; any other failure of the
    /// wall itself.
    fn start(&mut self, interrupt: Option<BorrowedFd<'_>>) -> Result<(), Error>;

    /// Starts a further process in the running sandbox and returns a handle
    /// to wait for it and signal it.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] when the runtime has no `exec`.
    fn exec(&mut self, process: &Process, stdio: Stdio) -> Result<Box<dyn Sandbox>, Error>;

    /// Sends `signal` to the workload's first process.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] when it has already exited.
    fn signal(&mut self, signal: Signal) -> Result<(), Error>;

    /// Holds every process of the workload where it is, until
    /// [`Sandbox::unpause`]. Works on a sandbox that another process made.
    ///
    /// # Errors
    ///
    /// [`Error::Paused`] when it is held already, [`Error::NotRunning`],
    /// [`Error::Unsupported`].
    fn pause(&mut self) -> Result<(), Error>;

    /// Lets a paused workload go on.
    ///
    /// # Errors
    ///
    /// [`Error::NotPaused`], [`Error::NotRunning`], [`Error::Unsupported`].
    fn unpause(&mut self) -> Result<(), Error>;

    /// Tells the workload's terminal how much it shows, which tells the processes
    /// in its foreground.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] when it has no terminal, or its terminal is in the
    /// hands of another process.
    fn resize(&mut self, size: TerminalSize) -> Result<(), Error>;

    /// Replaces those limits of the running sandbox that `resources` names. Works
    /// on a sandbox that another process made.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`], before anything has changed, when one of them
    /// cannot be changed; [`Error::NotRunning`].
    fn update(&mut self, resources: &LinuxResources) -> Result<(), Error>;

    /// A descriptor that polls readable when [`Sandbox::wait`] can make
    /// progress: the workload exited, or its streams have data to carry.
    fn event_fd(&self) -> BorrowedFd<'_>;

    /// Waits up to `timeout` (forever when `None`) for the workload to exit,
    /// carrying its streams meanwhile where the wall needs that. Returns
    /// `None` when the time ran out first.
    ///
    /// # Errors
    ///
    /// When the wall broke: the monitor died, the guest kernel panicked, …
    fn wait(&mut self, timeout: Option<Duration>) -> Result<Option<Exit>, Error>;

    /// Memory, CPU and processes now.
    ///
    /// # Errors
    ///
    /// When the accounting files cannot be read.
    fn usage(&self) -> Result<Usage, Error>;

    /// The host processes that exist because of this sandbox.
    ///
    /// # Errors
    ///
    /// When they cannot be listed.
    fn processes(&self) -> Result<Vec<HostProcess>, Error>;

    /// The named clocks seen so far.
    fn timeline(&self) -> Timeline;

    /// Kills what still runs and releases every resource. After it returns,
    /// nothing of the sandbox is left on the host.
    ///
    /// # Errors
    ///
    /// When something could not be removed; calling it again is allowed.
    fn delete(&mut self) -> Result<(), Error>;
}
