//! What kind of KVM this host has, as far as a VM's set-up depends on it.

use std::path::Path;

/// Intel's module. Its processors need three pages of the guest's address
/// space for real mode; asking for them on others costs a memory slot.
const INTEL_MODULE: &str = "/sys/module/kvm_intel";

/// Whether [`super::Vm::set_tss_address`] is needed.
#[must_use]
pub fn needs_tss_address() -> bool {
    Path::new(INTEL_MODULE).exists()
}
