//! `/dev/kvm`: is it there, which version, what CPUID can a guest have.

use kvm_bindings::{CpuId, KVM_API_VERSION, KVM_MAX_CPUID_ENTRIES};
use kvm_ioctls::{Cap, Kvm};

use super::{KvmError, Vm, failed};

/// The device node of KVM.
pub const KVM_DEVICE: &str = "/dev/kvm";

/// An open `/dev/kvm` of the right version.
#[derive(Debug)]
pub struct System {
    kvm: Kvm,
}

impl System {
    /// Opens `/dev/kvm`.
    ///
    /// # Errors
    ///
    /// [`KvmError::Open`] or [`KvmError::ApiVersion`].
    pub fn open() -> Result<Self, KvmError> {
        let kvm = Kvm::new().map_err(|error| {
            KvmError::Open(std::io::Error::from_raw_os_error(error.errno()))
        })?;
        let found = kvm.get_api_version();
        if u32::try_from(found) != Ok(KVM_API_VERSION) {
            return Err(KvmError::ApiVersion { found });
        }
        Ok(Self { kvm })
    }

    /// An empty VM.
    ///
    /// # Errors
    ///
    /// [`KvmError::Ioctl`].
    pub fn create_vm(&self) -> Result<Vm, KvmError> {
        self.kvm.create_vm().map(Vm::new).map_err(failed("create a VM"))
    }

    /// The CPUID a guest can be given, before [`super::cpuid`] adapts it.
    ///
    /// # Errors
    ///
    /// [`KvmError::Ioctl`].
    pub fn supported_cpuid(&self) -> Result<CpuId, KvmError> {
        self.kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(failed("list the CPU features of guests"))
    }

    /// The numbers of the MSRs that make up a processor's state.
    ///
    /// # Errors
    ///
    /// [`KvmError::Ioctl`].
    pub fn msr_indices(&self) -> Result<Vec<u32>, KvmError> {
        let list = self.kvm.get_msr_index_list().map_err(failed("list the MSRs of guests"))?;
        Ok(list.as_slice().to_vec())
    }

    /// Whether the local APIC's timer has a TSC-deadline mode.
    #[must_use]
    pub fn has_tsc_deadline(&self) -> bool {
        self.kvm.check_extension(Cap::TscDeadlineTimer)
    }
}
