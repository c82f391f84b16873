//! The same guest under somebody else's monitor: the kernel, the disk, PID 1 and
//! the session over vsock are ours, the machine is QEMU's or Firecracker's.
//!
//! It is for comparison. What such a monitor costs beyond ours is its own.

mod machine;
mod program;

use std::path::PathBuf;

use bulkhead_kernels::KvmFlavour;
use bulkhead_runtime::{
    Availability, Capabilities, Clock, Create, Error, Isolation, Lifetime, Missing, Record,
    Runtime, Sandbox, SandboxId, StateDir, StateError, Status, Timeline,
};

use crate::config::MicroVmConfig;
use crate::error::{MicroVmError, wall};
use crate::hosting;
use crate::session::convert;
use machine::{ForeignVm, Parts};
use program::Processes;

pub use program::Monitor;

/// Runs bundles in microVMs of another monitor.
#[derive(Debug, Clone)]
pub struct ForeignRuntime {
    monitor: Monitor,
    /// Its file and its version, or why it cannot be used.
    found: Result<(PathBuf, String), Missing>,
    config: MicroVmConfig,
}

impl ForeignRuntime {
    /// `monitor` as found on PATH, with our monitor's settings otherwise.
    #[must_use]
    pub fn on_path(monitor: Monitor, mut config: MicroVmConfig) -> Self {
        config.root = std::path::absolute(&config.root).unwrap_or(config.root);
        Self { monitor, found: program::find(monitor), config }
    }

    /// What it says its version is.
    #[must_use]
    pub fn version(&self) -> &str {
        self.found.as_ref().map_or("unknown", |(_, version)| version)
    }

    fn build(&self, request: Create<'_>, dir: StateDir) -> Result<ForeignVm, Error> {
        let Create { id, bundle, stdio, init, requested, interface, files, .. } = request;
        if interface.is_some() {
            return Err(Error::Unsupported {
                isolation: Isolation::MicroVm,
                what: "a network card in another project's monitor",
            });
        }
        let step = "creating the microVM";
        let (program, _) = self.found.as_ref().map_err(|missing| Error::Unavailable {
            isolation: Isolation::MicroVm,
            missing: vec![missing.clone()],
        })?;
        let start = convert::workload(bundle, init, true)
            .and_then(|start| convert::add_network(start, None, files))
            .map_err(|error| wall("reading the bundle")(error.into()))?;
        if start.sandbox.as_ref().is_some_and(|sandbox| sandbox.shares) {
            let what = "volumes and files of the host in another monitor";
            return Err(Error::Unsupported { isolation: Isolation::MicroVm, what });
        }
        let mut timeline = Timeline::starting_at(requested);
        let listener = hosting::listener(dir.path()).map_err(wall(step))?;
        let disk = bundle.disk()?;
        timeline.mark(Clock::RootfsReady);
        let machine = program::Machine {
            dir: dir.path(),
            kernel: self
                .config
                .kernel
                .as_deref()
                .ok_or(MicroVmError::NoKernel)
                .map_err(wall(step))?,
            disk,
            memory_mib: self.config.memory_mib(bundle).map_err(wall(step))?,
            flavour: KvmFlavour::detect(),
        };
        let processes = Processes::start(self.monitor, program, &machine, &self.config.monitor)
            .map_err(wall(step))?;
        timeline.mark(Clock::SandboxCreated);
        let mut record = Record::creating(id, Isolation::MicroVm, Lifetime::Attached);
        record.pid = Some(processes.pid());
        record.status = Status::Created;
        dir.write(&record)?;
        let parts = Parts { id: id.clone(), dir, processes, listener, stdio, start, timeline };
        ForeignVm::new(parts).map_err(wall(step))
    }
}

impl Runtime for ForeignRuntime {
    fn name(&self) -> &str {
        self.monitor.as_str()
    }

    fn isolation(&self) -> Isolation {
        Isolation::MicroVm
    }

    fn availability(&self) -> Availability {
        hosting::availability(self.found.as_ref().err().cloned(), self.config.kernel.as_deref())
    }

    fn capabilities(&self) -> Capabilities {
        hosting::CAPABILITIES
    }

    fn create(&self, request: Create<'_>) -> Result<Box<dyn Sandbox>, Error> {
        request.refuse_changes(Isolation::MicroVm)?;
        hosting::create(&self.config.root, request, |request, dir| self.build(request, dir))
    }

    fn load(&self, id: &SandboxId) -> Result<Box<dyn Sandbox>, Error> {
        // Its sandboxes end with the process that made them.
        Err(StateError::NotFound(id.clone()).into())
    }

    fn purge(&self, id: &SandboxId) -> Result<(), Error> {
        // Its processes die with their creator; only the directory can be left.
        hosting::remove(&self.config.root, id)
    }
}
