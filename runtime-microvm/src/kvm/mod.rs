//! KVM's own objects, one module each: the system (`/dev/kvm`), a VM, its
//! virtual CPU, and their statistics.
//!
//! Nothing here knows what the guest is; that is `boot/`.

pub mod cpuid;
mod mapped_file;
mod state;
mod stats;
mod system;
mod vcpu;
mod vm;

pub use mapped_file::{MapError, MappedFile};
pub use state::{VcpuState, VmClock};
pub use stats::{StatsFd, StatsReader};
pub use system::{KVM_DEVICE, System};
pub use vcpu::{Entry, Fault, Vcpu};
pub use vm::{GuestRam, MemoryError, Vm, map_ram};

/// A KVM operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum KvmError {
    /// The device node could not be opened.
    #[error("cannot open {KVM_DEVICE}")]
    Open(#[source] std::io::Error),
    /// The kernel speaks another version of the KVM interface.
    #[error("KVM speaks API version {found}, this monitor version 12")]
    ApiVersion {
        /// What the kernel said.
        found: i32,
    },
    /// The time-stamp counter is behind that of a saved processor.
    #[error(
        "the host's time-stamp counter has begun again since the machine was saved, and this \
         KVM cannot set the guest's"
    )]
    TscWentBack,
    /// An ioctl failed.
    #[error("KVM cannot {action}")]
    Ioctl {
        /// What was asked of it, as a phrase: `create a VM`.
        action: &'static str,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
}

/// Adapts the error of kvm-ioctls.
fn failed(action: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> KvmError {
    move |error| KvmError::Ioctl {
        action,
        source: std::io::Error::from_raw_os_error(error.errno()),
    }
}
