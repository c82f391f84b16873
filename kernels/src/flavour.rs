//! Which KVM a host has, and what our kernel must be told because of it.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The kernel module that implements KVM on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvmFlavour {
    /// `kvm_intel`: VMX.
    Intel,
    /// `kvm_amd`: SVM.
    Amd,
    /// `kvm_pvm`: guests isolated by page tables, guest kernel code emulated
    /// one instruction at a time.
    Pvm,
    /// Another implementation, or none.
    Unknown,
}

impl KvmFlavour {
    /// The flavour of this host, by the modules under `/sys/module`.
    #[must_use]
    pub fn detect() -> Self {
        Self::detect_in(Path::new("/sys/module"))
    }

    fn detect_in(modules: &Path) -> Self {
        // A module may be loaded and idle where another one serves /dev/kvm only
        // if the hardware's own cannot: then kvm_pvm is the one in use.
        [Self::Pvm, Self::Intel, Self::Amd]
            .into_iter()
            .find(|flavour| modules.join(flavour.as_str()).is_dir())
            .unwrap_or(Self::Unknown)
    }

    /// The module's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intel => "kvm_intel",
            Self::Amd => "kvm_amd",
            Self::Pvm => "kvm_pvm",
            Self::Unknown => "unknown",
        }
    }

    /// Whether guest kernel code is emulated, which makes every figure of a
    /// microVM on this host one about the emulator.
    #[must_use]
    pub fn emulates_guest_kernel(self) -> bool {
        self == Self::Pvm
    }
}

impl fmt::Display for KvmFlavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What our kernel needs on its command line under `flavour`.
///
/// Nothing on hardware: there the kernel runs with its mitigations and with
/// its text read-only. Under `kvm_pvm` one word, which our patches define: it keeps
/// instructions out of ring 0 that the emulator lacks, and leaves out protections
/// and most timer ticks, because the guest's kernel code never reaches the
/// processor and each of its instructions is dear.
#[must_use]
pub fn command_line(flavour: KvmFlavour) -> &'static str {
    match flavour {
        KvmFlavour::Pvm => "emulated_ring0",
        KvmFlavour::Intel | KvmFlavour::Amd | KvmFlavour::Unknown => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_module_directory_tells_the_flavour() {
        let modules = tempfile::tempdir().unwrap();
        assert_eq!(KvmFlavour::detect_in(modules.path()), KvmFlavour::Unknown);
        fs::create_dir(modules.path().join("kvm_amd")).unwrap();
        assert_eq!(KvmFlavour::detect_in(modules.path()), KvmFlavour::Amd);
        fs::create_dir(modules.path().join("kvm_pvm")).unwrap();
        assert_eq!(KvmFlavour::detect_in(modules.path()), KvmFlavour::Pvm);
    }

    #[test]
    fn hardware_gets_a_hardened_kernel() {
        for flavour in [KvmFlavour::Intel, KvmFlavour::Amd, KvmFlavour::Unknown] {
            assert_eq!(command_line(flavour), "");
        }
        assert_eq!(command_line(KvmFlavour::Pvm), "emulated_ring0");
    }
}
