//! A VM: guest memory, the interrupt controller, interrupts sent to it.

use kvm_bindings::{
    KVM_CAP_SPLIT_IRQCHIP, KVM_MEM_READONLY, kvm_enable_cap, kvm_msi,
    kvm_userspace_memory_region,
};
use kvm_ioctls::VmFd;
use vm_memory::{
    GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, MemoryRegionAddress,
};

use super::{KvmError, MappedFile, StatsFd, Vcpu, failed};
use crate::boot::layout;

/// Guest memory: anonymous, private, not reserved in advance, so that the host
/// pays only for pages the guest touches.
pub type GuestRam = GuestMemoryMmap<()>;

/// Guest memory that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// Not a size a guest can have.
    #[error("{mib} MiB of guest memory: it must be between {min} and {max} MiB")]
    Size {
        /// What was asked for.
        mib: u32,
        /// The smallest size a kernel can boot in.
        min: u32,
        /// The largest.
        max: u32,
    },
    /// The kernel refused the mapping.
    #[error("cannot map {mib} MiB of guest memory")]
    Map {
        /// What was asked for.
        mib: u32,
        /// Why.
        #[source]
        source: vm_memory::mmap::FromRangesError,
    },
}

/// Smallest guest memory, MiB: what the loader's structures and a tiny raw
/// guest need.
const MIN_MIB: u32 = 2;
/// Largest guest memory, MiB (1 TiB).
const MAX_MIB: u32 = 1 << 20;

/// Maps `mib` MiB of guest memory: one piece from address 0, and above the
/// hole for devices, from 4 GiB on, what does not fit below it.
///
/// # Errors
///
/// [`MemoryError`].
pub fn map_ram(mib: u32) -> Result<GuestRam, MemoryError> {
    if !(MIN_MIB..=MAX_MIB).contains(&mib) {
        return Err(MemoryError::Size { mib, min: MIN_MIB, max: MAX_MIB });
    }
    let bytes = u64::from(mib) << 20;
    let ranges: Vec<(GuestAddress, usize)> = layout::ram_ranges(bytes)
        .into_iter()
        .filter_map(|(start, len)| Some((GuestAddress(start), usize::try_from(len).ok()?)))
        .collect();
    GuestRam::from_ranges(&ranges).map_err(|source| MemoryError::Map { mib, source })
}

/// A VM.
#[derive(Debug)]
pub struct Vm {
    pub(super) fd: VmFd,
}

impl Vm {
    pub(super) fn new(fd: VmFd) -> Self {
        Self { fd }
    }

    /// Gives the VM its memory.
    ///
    /// This comes before anything that uses KVM's in-kernel I/O bus (an
    /// interrupt controller, an ioeventfd): afterwards every slot would wait
    /// for an SRCU grace period of that bus, 5 to 30 ms.
    ///
    /// # Errors
    ///
    /// [`KvmError::Ioctl`].
    pub fn set_memory(&self, ram: &GuestRam) -> Result<(), KvmError> {
        for (slot, region) in (0_u32..).zip(ram.iter()) {
            let start = region.get_host_address(MemoryRegionAddress(0)).map_err(|_| {
                KvmError::Ioctl {
                    action: "find the host address of guest memory",
                    source: std::io::ErrorKind::InvalidInput.into(),
                }
            })?;
            let description = kvm_userspace_memory_region {
                slot,
                flags: 0,
                guest_phys_addr: region.start_addr().0,
                memory_size: region.len(),
                userspace_addr: start as u64,
            };
            // SAFETY: the mapping belongs to `ram`, which the machine keeps until the
            // VM is gone, and is as long as its region says.
            unsafe { self.fd.set_user_memory_region(description) }
                .map_err(failed("set guest memory"))?;
        }
        Ok(())
    }

    /// Gives the VM a file to read as memory, besides `ram`: as early as
    /// [`Vm::set_memory`]. Stores to it are exits, and lost.
    ///
    /// # Errors
    ///
    /// [`KvmError::Ioctl`], also where KVM has no read-only memory.
    pub fn set_read_only(&self, ram: &GuestRam, file: &MappedFile) -> Result<(), KvmError> {
        let description = kvm_userspace_memory_region {
            slot: u32::try_from(ram.num_regions()).unwrap_or(u32::MAX),
            flags: KVM_MEM_READONLY,
            guest_phys_addr: file.start().0,
            memory_size: file.size(),
            userspace_addr: file.host_address() as u64,
        };
        // SAFETY: the mapping belongs to `file`, which the machine keeps until the VM
        // is gone, and is as long as it says.
        unsafe { self.fd.set_user_memory_region(description) }
            .map_err(failed("let the guest read a file as memory"))
    }

    /// Puts the local APIC into the kernel and leaves the I/O APIC to us.
    ///
    /// With the full in-kernel interrupt controller the close of the VM waits
    /// for a grace period of KVM's I/O bus; and all our interrupts are edges,
    /// which need no I/O APIC in the kernel.
    ///
    /// # Errors
    ///
    /// [`KvmError::Ioctl`].
    pub fn split_irqchip(&self) -> Result<(), KvmError> {
        let mut cap = kvm_enable_cap { cap: KVM_CAP_SPLIT_IRQCHIP, ..Default::default() };
        cap.args[0] = u64::from(crate::devices::ioapic::PINS);
        self.fd.enable_cap(&cap).map_err(failed("split the interrupt controller"))
    }

    /// The address Intel processors without unrestricted guests need for real
    /// mode; ignored by others.
    ///
    /// # Errors
    ///
    /// [`KvmError::Ioctl`].
    pub fn set_tss_address(&self) -> Result<(), KvmError> {
        let address = usize::try_from(layout::KVM_TSS).unwrap_or_default();
        self.fd.set_tss_address(address).map_err(failed("set the address of the TSS"))
    }

    /// The VM's only processor.
    ///
    /// # Errors
    ///
    /// [`KvmError::Ioctl`].
    pub fn create_vcpu(&self) -> Result<Vcpu, KvmError> {
        self.fd.create_vcpu(0).map(Vcpu::new).map_err(failed("create a virtual CPU"))
    }

    /// Delivers a message-signalled interrupt to the local APIC.
    ///
    /// # Errors
    ///
    /// [`KvmError::Ioctl`].
    pub fn signal_msi(&self, address: u64, data: u32) -> Result<(), KvmError> {
        let message = kvm_msi {
            address_lo: u32::try_from(address & 0xffff_ffff).unwrap_or_default(),
            address_hi: u32::try_from(address >> 32).unwrap_or_default(),
            data,
            ..Default::default()
        };
        self.fd.signal_msi(message).map(drop).map_err(failed("deliver an interrupt"))
    }

    /// The VM's statistics.
    ///
    /// # Errors
    ///
    /// [`KvmError::Ioctl`], also where the kernel has none (before 5.14).
    pub fn stats(&self) -> Result<StatsFd, KvmError> {
        StatsFd::of(&self.fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_sizes_at_the_edges() {
        assert!(matches!(map_ram(1), Err(MemoryError::Size { mib: 1, .. })));
        assert!(matches!(map_ram(MAX_MIB + 1), Err(MemoryError::Size { .. })));
        assert_eq!(map_ram(64).unwrap().num_regions(), 1);
        assert_eq!(map_ram(4096).unwrap().num_regions(), 2);
    }
}
