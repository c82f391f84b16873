//! What every microVM needs of its host, whoever's monitor runs it: KVM, a
//! kernel, a directory of its own with the place where the guest calls.

use std::os::unix::net::UnixListener;
use std::path::Path;

use bulkhead_guest::protocol::SESSION_PORT;
use bulkhead_runtime::{
    Availability, Capabilities, Create, Error, Isolation, Lifetime, Missing, Record, Sandbox,
    SandboxId, StateDir, StateError, Status,
};

use crate::error::{MicroVmError, io_error};
use crate::kvm::{KVM_DEVICE, KvmError, System};
use crate::monitor::config::{MonitorConfig, files};
use crate::monitor_process::MonitorProcess;

/// What microVMs can do, by our guest's PID 1.
pub const CAPABILITIES: Capabilities = Capabilities {
    exec: true,
    limits: true,
    private_network: true,
    private_kernel: true,
    detached: false,
    prepare: false,
};

/// Whether `kernel` can be booted here by a monitor of which `missing` is
/// missing.
pub fn availability(missing: Option<Missing>, kernel: Option<&Path>) -> Availability {
    let kvm = System::open().err().map(|error| kvm_remedy(&error));
    let all: Vec<Missing> =
        missing.into_iter().chain(kvm).chain(missing_kernel(kernel)).collect();
    if all.is_empty() { Availability::Ready } else { Availability::Unavailable(all) }
}

fn missing_kernel(kernel: Option<&Path>) -> Option<Missing> {
    match kernel {
        Some(kernel) if kernel.is_file() => None,
        Some(kernel) => Some(Missing {
            what: format!("the guest kernel {}", kernel.display()),
            remedy: "name an existing kernel, or run `bulkhead kernel build`".to_owned(),
        }),
        None => Some(Missing {
            what: "a guest kernel".to_owned(),
            remedy: "run `bulkhead kernel build`".to_owned(),
        }),
    }
}

fn kvm_remedy(error: &KvmError) -> Missing {
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

/// As [`make`], for a runtime.
pub fn create<S: Sandbox + 'static>(
    root: &Path,
    request: Create<'_>,
    build: impl FnOnce(Create<'_>, StateDir) -> Result<S, Error>,
) -> Result<Box<dyn Sandbox>, Error> {
    Ok(Box::new(make(root, request, build)?))
}

/// Has `build` make a sandbox in a new directory under `root`; of one that
/// cannot be made, nothing stays.
pub fn make<S>(
    root: &Path,
    request: Create<'_>,
    build: impl FnOnce(Create<'_>, StateDir) -> Result<S, Error>,
) -> Result<S, Error> {
    refuse_detached(request.lifetime)?;
    let record = Record::creating(request.id, Isolation::MicroVm, request.lifetime);
    let dir = StateDir::create(root, &record)?;
    let path = dir.path().to_owned();
    build(request, dir).inspect_err(|_| {
        // The error at hand says more than one about the directory would.
        drop(std::fs::remove_dir_all(path));
    })
}

/// `record` of a microVM that `monitor` has made after `config`.
pub fn created(mut record: Record, monitor: &MonitorProcess, config: &MonitorConfig) -> Record {
    record.pid = Some(monitor.pid());
    record.machine_bytes = Some(u64::from(config.memory_mib) << 20);
    record.status = Status::Created;
    record
}

/// Refuses what no microVM is.
pub fn refuse_detached(lifetime: Lifetime) -> Result<(), Error> {
    match lifetime {
        Lifetime::Attached => Ok(()),
        Lifetime::Detached => Err(Error::Unsupported {
            isolation: Isolation::MicroVm,
            what: "a detached sandbox",
        }),
    }
}

/// Removes the directory of `id`, if there is one.
pub fn remove(root: &Path, id: &SandboxId) -> Result<(), Error> {
    match StateDir::open(root, id) {
        Ok(dir) => Ok(dir.remove()?),
        Err(StateError::NotFound(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The socket on which the guest's PID 1 calls.
pub fn listener(state_dir: &Path) -> Result<UnixListener, MicroVmError> {
    let path = state_dir.join(format!("{}_{SESSION_PORT}", files::VSOCK));
    UnixListener::bind(path)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(io_error("listen for the guest"))
}
