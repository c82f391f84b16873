//! [`MicroVmRuntime`]: makes microVMs, finds them again, clears them away.

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_kernels::KvmFlavour;
use bulkhead_runtime::{
    Availability, Bundle, Capabilities, Claim, Clock, Create, Error, Isolation, Lifetime, Pool,
    PoolKey, Prepare, Record, Runtime, Sandbox, SandboxId, StateDir, Timeline, UPPER_ARCHIVE,
};

use crate::affinity;
use crate::application::Resumption;
use crate::config::{Console, MicroVmConfig, Prefetch, RootDisk, StartFrom};
use crate::devices::virtio::net::Link;
use crate::error::{MicroVmError, io_error, wall};
use crate::files::{FileServer, Share};
use crate::hosting;
use crate::leftovers;
use crate::loaded::LoadedMicroVm;
use crate::monitor::config::{MonitorConfig, files as names};
use crate::monitor_process::MonitorProcess;
use crate::pool;
use crate::sandbox::{MicroVm, Parts};
use crate::session::convert;
use crate::template;
use crate::throttle::CpuLimit;
use crate::timeline::SharedTimeline;

/// How long a guest may take to boot where its kernel runs on hardware; and
/// where every instruction of its kernel is emulated, at about a million a
/// second on a machine that has better things to do as well.
const BOOT_TIMEOUT: Duration = Duration::from_secs(30);
const BOOT_TIMEOUT_EMULATED: Duration = Duration::from_secs(120);

/// Runs bundles in microVMs.
#[derive(Debug, Clone)]
pub struct MicroVmRuntime {
    config: MicroVmConfig,
}

impl MicroVmRuntime {
    /// A runtime with these settings.
    #[must_use]
    pub fn new(mut config: MicroVmConfig) -> Self {
        // The monitor is recognised by its directory, from any working directory.
        config.root = std::path::absolute(&config.root).unwrap_or(config.root);
        Self { config }
    }

    /// The same runtime, which boots every machine, as templates are.
    pub(crate) fn booting(&self) -> Self {
        let start = StartFrom::Kernel;
        let config = self.config.clone();
        Self { config: MicroVmConfig { start, card: true, shares: true, ..config } }
    }

    pub(crate) fn config(&self) -> &MicroVmConfig {
        &self.config
    }

    pub(crate) fn monitor_config(
        &self,
        bundle: &Bundle,
        state_dir: &Path,
    ) -> Result<MonitorConfig, MicroVmError> {
        let flavour = KvmFlavour::detect();
        let disk = bundle.disk().map_err(convert::ConvertError::from)?;
        Ok(MonitorConfig {
            state_dir: state_dir.to_owned(),
            parent: i32::try_from(std::process::id()).unwrap_or(0),
            memory_mib: self.config.memory_mib(bundle)?,
            cpu_limit: cpu_limit(bundle),
            kernel: absolute(self.config.kernel.as_deref().ok_or(MicroVmError::NoKernel)?)?,
            command_line: self.extra_command_line(flavour),
            disk: absolute(disk)?,
            root_disk: self.config.root_disk,
            entropy_device: self.config.entropy_device,
            balloon: self.config.balloon,
            card: self.config.card,
            link: None,
            shares: self.config.shares,
            served: false,
            console: self.config.console == Console::Always,
            boot_timeout: self.config.boot_timeout.unwrap_or(
                if flavour.emulates_guest_kernel() {
                    BOOT_TIMEOUT_EMULATED
                } else {
                    BOOT_TIMEOUT
                },
            ),
            intel: flavour == KvmFlavour::Intel,
            emulated: flavour.emulates_guest_kernel(),
            restore: None,
            prefetch: self.config.prefetch,
            resumes: false,
            waits: false,
            seccomp: self.config.seccomp,
        })
    }

    fn extra_command_line(&self, flavour: KvmFlavour) -> String {
        [bulkhead_kernels::command_line(flavour), &self.config.command_line]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Starts the monitor with its card's `taps` and, where something is shared, the file
    /// server beside it.
    fn monitor(
        &self,
        config: &mut MonitorConfig,
        taps: Vec<BorrowedFd<'_>>,
        shares: &[Share],
    ) -> Result<MonitorProcess, MicroVmError> {
        if shares.is_empty() {
            return MonitorProcess::start(&self.config, config, &taps);
        }
        if !config.shares || config.resumes {
            return Err(MicroVmError::NoShares);
        }
        let mut files = FileServer::start(&self.config, &config.state_dir, shares)?;
        config.served = true;
        let given: Vec<_> =
            taps.into_iter().chain(files.asker().into_iter().flatten()).collect();
        let mut monitor = MonitorProcess::start(&self.config, config, &given)?;
        files.hand_over();
        monitor.keep(files);
        Ok(monitor)
    }

    pub(crate) fn build(&self, request: Create<'_>, dir: StateDir) -> Result<MicroVm, Error> {
        let Create {
            id, bundle, mut stdio, init, requested, interface, files, changes, ..
        } = request;
        let mut start = convert::workload(bundle, init, true)
            .and_then(|start| convert::add_network(start, interface.as_ref(), files))
            .map_err(|error| wall("reading the bundle")(error.into()))?;
        if let Some(changes) = changes {
            let archive = File::create_new(changes.join(UPPER_ARCHIVE))
                .map_err(io_error("make the archive of what is changed"))
                .map_err(wall("preparing the microVM"))?;
            stdio.stdout = archive.into();
            convert::want_changes(&mut start);
        }
        let mut config =
            self.monitor_config(bundle, dir.path()).map_err(wall("preparing the microVM"))?;
        let shares = convert::shares(bundle);
        config.card |= interface.is_some();
        config.link = interface.as_ref().map(Link::from);
        config.shares |= !shares.is_empty();
        let snapshot = template::choose(&self.config, &config, &start)
            .map_err(|error| wall("preparing the microVM")(error.into()))?;
        let running = snapshot.as_ref().filter(|snapshot| snapshot.manifest.running);
        let resumes = running
            .map(|snapshot| Resumption::new(snapshot.manifest.application.as_ref(), bundle));
        config.resumes = resumes.is_some();
        if let Some(snapshot) = &snapshot {
            config.card = snapshot.manifest.fingerprint.devices.card;
            config.shares = snapshot.manifest.fingerprint.devices.shares;
        }
        config.restore = snapshot.as_ref().map(|snapshot| snapshot.dir().to_owned());
        let to_record = snapshot.filter(|snapshot| {
            config.prefetch == Prefetch::WorkingSet && !snapshot.has_working_set()
        });
        let shared = SharedTimeline::create(&dir.path().join(names::TIMELINE))
            .map_err(io_error("make the timeline"))
            .map_err(wall("preparing the microVM"))?;
        let listener = hosting::listener(dir.path()).map_err(wall("preparing the microVM"))?;
        shared.mark(Clock::RootfsReady);
        let taps: Vec<_> = interface.iter().map(|interface| interface.tap).collect();
        let monitor =
            self.monitor(&mut config, taps, &shares).map_err(wall("creating the microVM"))?;
        affinity::confine_to(monitor.pid(), &bundle.spec)
            .map_err(wall("creating the microVM"))?;
        let record = Record::creating(id, Isolation::MicroVm, Lifetime::Attached);
        let record = hosting::created(record, &monitor, &config);
        dir.write(&record)?;
        dir.write_config(&bundle.spec)?;
        MicroVm::new(Parts {
            record,
            dir,
            monitor,
            listener,
            stdio,
            start,
            resumes,
            to_record,
            answer_within: config.restore.is_some().then_some(config.boot_timeout),
            shared,
            timeline: Timeline::starting_at(requested),
        })
        .map_err(wall("creating the microVM"))
    }
}

/// The bundle's processor limit, as far as it is below what the machine has.
fn cpu_limit(bundle: &Bundle) -> Option<CpuLimit> {
    /// The period of a quota without one, microseconds (`sched_cfs_bandwidth`).
    const DEFAULT_PERIOD_US: u64 = 100_000;
    let cpu = bundle.spec.linux().as_ref()?.resources().as_ref()?.cpu().as_ref()?;
    CpuLimit::below_one(
        cpu.quota().filter(|us| *us > 0)?,
        cpu.period().unwrap_or(DEFAULT_PERIOD_US),
    )
}

fn absolute(path: &Path) -> Result<PathBuf, MicroVmError> {
    std::path::absolute(path).map_err(io_error("make a path absolute"))
}

impl Runtime for MicroVmRuntime {
    fn name(&self) -> &str {
        match self.config.root_disk {
            RootDisk::Blk => "microvm",
            RootDisk::Pmem => "microvm-pmem",
        }
    }

    fn isolation(&self) -> Isolation {
        Isolation::MicroVm
    }

    fn availability(&self) -> Availability {
        hosting::availability(None, self.config.kernel.as_deref())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { prepare: pool::templates(self).is_some(), ..hosting::CAPABILITIES }
    }

    fn create(&self, request: Create<'_>) -> Result<Box<dyn Sandbox>, Error> {
        hosting::create(&self.config.root, request, |request, dir| self.build(request, dir))
    }

    fn pool_key(&self, bundle: &Bundle) -> Result<PoolKey, Error> {
        pool::key(self, bundle)
    }

    fn prepare(&self, request: Prepare<'_>) -> Result<(), Error> {
        pool::prepare(self, &request)
    }

    fn claim(&self, bundle: &Bundle) -> Result<Option<Claim>, Error> {
        pool::claim(self, bundle)
    }

    fn complete(&self, claim: Claim, request: Create<'_>) -> Result<Box<dyn Sandbox>, Error> {
        let id = claim.id().clone();
        match pool::complete(claim, request) {
            Ok(machine) => Ok(Box::new(machine)),
            Err(error) => {
                // What went wrong matters more than what cannot be removed, which is
                // found again.
                drop(self.purge(&id));
                Err(error)
            }
        }
    }

    fn load(&self, id: &SandboxId) -> Result<Box<dyn Sandbox>, Error> {
        let dir = StateDir::open(&self.config.root, id)?;
        let record = dir.read()?;
        Ok(Box::new(LoadedMicroVm::new(dir, record).map_err(wall("finding the microVM"))?))
    }

    fn purge(&self, id: &SandboxId) -> Result<(), Error> {
        // While it is being removed nobody takes it.
        let _claim = Pool::at(&self.config.root).claim_this(id)?;
        let path = self.config.root.join(id);
        leftovers::kill_monitors(&path).map_err(wall("ending the monitor"))?;
        hosting::remove(&self.config.root, id)
    }
}
