//! [`MicroVmRuntime`]: makes microVMs, finds them again, clears them away.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_guest::protocol::SESSION_PORT;
use bulkhead_kernels::KvmFlavour;
use bulkhead_runtime::{
    Availability, Bundle, Capabilities, Clock, Create, Error, Isolation, Lifetime, Missing,
    Record, Runtime, Sandbox, SandboxId, StateDir, Status, Timeline,
};

use crate::config::{Console, MicroVmConfig};
use crate::error::{MicroVmError, io_error, wall};
use crate::kvm::{KVM_DEVICE, KvmError, System};
use crate::leftovers;
use crate::loaded::LoadedMicroVm;
use crate::monitor::config::{MonitorConfig, files};
use crate::monitor_process::MonitorProcess;
use crate::sandbox::{MicroVm, Parts};
use crate::session::convert;
use crate::throttle::CpuLimit;
use crate::timeline::SharedTimeline;

/// How long a guest may take to boot where its kernel runs on hardware; and
/// where every instruction of its kernel is emulated, at about a million a
/// second on a machine that has better things to do as well.
const BOOT_TIMEOUT: Duration = Duration::from_secs(30);
const BOOT_TIMEOUT_EMULATED: Duration = Duration::from_secs(120);
/// The least memory a guest kernel boots in, MiB.
const LEAST_MEMORY_MIB: u32 = 32;
/// Room a kernel needs beside what it leaves to the workload is not added to
/// the limit: the limit is the machine's.
const MIB: i64 = 1 << 20;

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

    fn monitor_config(
        &self,
        bundle: &Bundle,
        state_dir: &Path,
    ) -> Result<MonitorConfig, MicroVmError> {
        let flavour = KvmFlavour::detect();
        let disk = bundle.disk().map_err(convert::ConvertError::from)?;
        Ok(MonitorConfig {
            state_dir: state_dir.to_owned(),
            parent: i32::try_from(std::process::id()).unwrap_or(0),
            memory_mib: self.memory_mib(bundle)?,
            cpu_limit: cpu_limit(bundle),
            kernel: absolute(self.config.kernel.as_deref().ok_or(MicroVmError::NoKernel)?)?,
            command_line: self.extra_command_line(flavour),
            disk: absolute(disk)?,
            entropy_device: self.config.entropy_device,
            console: self.config.console == Console::Always,
            boot_timeout: self.config.boot_timeout.unwrap_or(
                if flavour.emulates_guest_kernel() {
                    BOOT_TIMEOUT_EMULATED
                } else {
                    BOOT_TIMEOUT
                },
            ),
            intel: flavour == KvmFlavour::Intel,
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

    /// Guest memory: the bundle's limit is the size of the machine.
    pub(crate) fn memory_mib(&self, bundle: &Bundle) -> Result<u32, MicroVmError> {
        let limit = bundle
            .spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.resources().as_ref()?.memory().as_ref()?.limit())
            .filter(|limit| *limit > 0);
        let Some(bytes) = limit else { return Ok(self.config.default_memory_mib) };
        match u32::try_from(bytes / MIB) {
            Ok(mib) if mib >= LEAST_MEMORY_MIB => Ok(mib),
            Ok(_) => Err(MicroVmError::MemoryLimit { bytes, least_mib: LEAST_MEMORY_MIB }),
            // More than any machine has: the monitor says how much there can be.
            Err(_) => Ok(u32::MAX),
        }
    }

    fn build(&self, request: Create<'_>, dir: StateDir) -> Result<MicroVm, Error> {
        let Create { id, bundle, stdio, init, requested, .. } = request;
        let start = convert::workload(bundle, init, true)
            .map_err(|error| wall("reading the bundle")(error.into()))?;
        let config =
            self.monitor_config(bundle, dir.path()).map_err(wall("preparing the microVM"))?;
        let (shared, listener) =
            host_side(dir.path()).map_err(wall("preparing the microVM"))?;
        shared.mark(Clock::RootfsReady);
        let monitor = MonitorProcess::start(&self.config, &config)
            .map_err(wall("creating the microVM"))?;
        let mut record = Record::creating(id, Isolation::MicroVm, Lifetime::Attached);
        record.pid = Some(monitor.pid());
        record.status = Status::Created;
        dir.write(&record)?;
        MicroVm::new(Parts {
            record,
            dir,
            monitor,
            listener,
            stdio,
            start,
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

/// The clocks, and the socket on which the guest's PID 1 calls.
pub(crate) fn host_side(
    state_dir: &Path,
) -> Result<(SharedTimeline, UnixListener), MicroVmError> {
    let shared = SharedTimeline::create(&state_dir.join(files::TIMELINE))
        .map_err(io_error("make the timeline"))?;
    let path = state_dir.join(format!("{}_{SESSION_PORT}", files::VSOCK));
    let listener = UnixListener::bind(path)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(io_error("listen for the guest"))?;
    Ok((shared, listener))
}

impl Runtime for MicroVmRuntime {
    fn name(&self) -> &str {
        "microvm"
    }

    fn isolation(&self) -> Isolation {
        Isolation::MicroVm
    }

    fn availability(&self) -> Availability {
        let mut missing = Vec::new();
        if let Err(error) = System::open() {
            missing.push(kvm_remedy(&error));
        }
        match &self.config.kernel {
            Some(kernel) if kernel.is_file() => {}
            Some(kernel) => missing.push(Missing {
                what: format!("the guest kernel {}", kernel.display()),
                remedy: "name an existing kernel, or run `bulkhead kernel build`".to_owned(),
            }),
            None => missing.push(Missing {
                what: "a guest kernel".to_owned(),
                remedy: "run `bulkhead kernel build`".to_owned(),
            }),
        }
        if missing.is_empty() {
            Availability::Ready
        } else {
            Availability::Unavailable(missing)
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            exec: true,
            limits: true,
            private_network: true,
            private_kernel: true,
            detached: false,
        }
    }

    fn create(&self, request: Create<'_>) -> Result<Box<dyn Sandbox>, Error> {
        if request.lifetime == Lifetime::Detached {
            return Err(Error::Unsupported {
                isolation: Isolation::MicroVm,
                what: "a detached sandbox",
            });
        }
        let record = Record::creating(request.id, Isolation::MicroVm, request.lifetime);
        let dir = StateDir::create(&self.config.root, &record)?;
        let path = dir.path().to_owned();
        match self.build(request, dir) {
            Ok(sandbox) => Ok(Box::new(sandbox)),
            Err(error) => {
                // The error at hand says more than one about the directory would.
                drop(std::fs::remove_dir_all(path));
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
        let path = self.config.root.join(id);
        leftovers::kill_monitors(&path).map_err(wall("ending the monitor"))?;
        match StateDir::open(&self.config.root, id) {
            Ok(dir) => Ok(dir.remove()?),
            Err(bulkhead_runtime::StateError::NotFound(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

pub(crate) fn kvm_remedy(error: &KvmError) -> Missing {
    let remedy = match error {
        KvmError::Open(source) if source.kind() == std::io::ErrorKind::PermissionDenied => {
            "add yourself to the group kvm (`sudo usermod -aG kvm $USER`) and log in again"
        }
        KvmError::Open(_) => {
            "load the module (`modprobe kvm_intel` or `modprobe kvm_amd`); virtualisation must \
             be switched on in the firmware, and in a virtual machine nested"
        }
        _ => "use a kernel whose KVM has the stable interface (Linux 2.6.22 or newer)",
    };
    Missing { what: KVM_DEVICE.to_owned(), remedy: remedy.to_owned() }
}
