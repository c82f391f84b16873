//! Where things are in the guest's physical address space.

use vm_memory::GuestAddress;

/// The MP table, in the first KiB: the first place Linux looks
/// (`default_find_smp_config`, arch/x86/kernel/mpparse.c).
pub const MP_TABLE: GuestAddress = GuestAddress(0x10);
/// End of the region Linux searches first.
pub const MP_TABLE_END: u64 = 0x400;
/// Segment descriptors of the entry state.
pub const BOOT_GDT: GuestAddress = GuestAddress(0x500);
/// Limit of that table: four descriptors.
pub const BOOT_GDT_LIMIT: u16 = 4 * 8 - 1;
/// `__BOOT_CS` (boot.rst, 64-bit boot protocol).
pub const BOOT_CS: u16 = 0x10;
/// `__BOOT_DS`.
pub const BOOT_DS: u16 = 0x18;
/// `struct boot_params`, the zero page.
pub const ZERO_PAGE: GuestAddress = GuestAddress(0x7000);
/// Initial stack, growing down.
pub const BOOT_STACK: GuestAddress = GuestAddress(0x8ff0);
/// Top of the page tables of the identity mapping.
pub const PML4: GuestAddress = GuestAddress(0x9000);
/// Second level.
pub const PDPT: GuestAddress = GuestAddress(0xa000);
/// Third level: one page, 512 entries of 2 MiB, the first GiB.
pub const PAGE_DIRECTORY: GuestAddress = GuestAddress(0xb000);
/// The kernel command line.
pub const COMMAND_LINE: GuestAddress = GuestAddress(0x2_0000);
/// Longest command line (`COMMAND_LINE_SIZE`, asm/setup.h), terminator included.
pub const COMMAND_LINE_MAX: usize = 2048;
/// Where a tiny raw guest is loaded and entered.
pub const RAW_ENTRY: GuestAddress = GuestAddress(0x1000);
/// Where kernels may be loaded from.
pub const HIGH_MEMORY: GuestAddress = GuestAddress(0x10_0000);

/// Start of the address hole for devices, 3 GiB.
pub const DEVICE_HOLE: u64 = 0xc000_0000;
/// Where memory goes on above the hole, 4 GiB.
pub const ABOVE_HOLE: u64 = 1 << 32;

/// The boot-timer page.
pub const BOOT_TIMER: GuestAddress = GuestAddress(0xd000_0000);
/// First virtio-mmio device; each takes one page.
pub const VIRTIO_MMIO: GuestAddress = GuestAddress(0xd000_1000);
/// Register page size of every device, bytes.
pub const DEVICE_PAGE: u64 = 0x1000;
/// First interrupt pin of the virtio-mmio devices.
pub const VIRTIO_FIRST_IRQ: u8 = 5;
/// Interrupt pin of the serial port.
pub const SERIAL_IRQ: u8 = 4;
/// The I/O APIC (`IO_APIC_DEFAULT_PHYS_BASE`, asm/apicdef.h).
pub const IO_APIC: GuestAddress = GuestAddress(0xfec0_0000);
/// The local APIC (`APIC_DEFAULT_PHYS_BASE`).
pub const LOCAL_APIC: u32 = 0xfee0_0000;
/// Three pages for Intel's real-mode emulation, below the reset vector (KVM
/// API, `KVM_SET_TSS_ADDR`).
pub const KVM_TSS: u64 = 0xfffb_d000;

/// Where the guest's memory and the hole for devices are behind us, for `ram_bytes`
/// of memory: on the boundary of a large page, 2 MiB.
#[must_use]
pub fn above_memory(ram_bytes: u64) -> GuestAddress {
    let end = ram_ranges(ram_bytes).last().map_or(0, |(start, len)| start + len);
    GuestAddress(end.max(ABOVE_HOLE).next_multiple_of(2 << 20))
}

/// Register page of the virtio-mmio device with this index.
#[must_use]
pub fn virtio_mmio(index: u8) -> GuestAddress {
    GuestAddress(VIRTIO_MMIO.0 + u64::from(index) * DEVICE_PAGE)
}

/// Interrupt pin of the virtio-mmio device with this index.
#[must_use]
pub fn virtio_irq(index: u8) -> u8 {
    VIRTIO_FIRST_IRQ + index
}

/// The pieces of guest memory, as (start, length), for `bytes` in all.
#[must_use]
pub fn ram_ranges(bytes: u64) -> Vec<(u64, u64)> {
    if bytes <= DEVICE_HOLE {
        vec![(0, bytes)]
    } else {
        vec![(0, DEVICE_HOLE), (ABOVE_HOLE, bytes - DEVICE_HOLE)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_leaves_the_device_hole_free() {
        assert_eq!(ram_ranges(64 << 20), [(0, 64 << 20)]);
        assert_eq!(ram_ranges(DEVICE_HOLE), [(0, DEVICE_HOLE)]);
        let split = ram_ranges(DEVICE_HOLE + 4096);
        assert_eq!(split, [(0, DEVICE_HOLE), (ABOVE_HOLE, 4096)]);
    }

    #[test]
    fn what_is_above_memory_touches_nothing() {
        assert_eq!(above_memory(64 << 20).0, ABOVE_HOLE);
        assert_eq!(above_memory(DEVICE_HOLE).0, ABOVE_HOLE);
        assert_eq!(above_memory(DEVICE_HOLE + (3 << 20)).0, ABOVE_HOLE + (4 << 20));
    }

    #[test]
    fn devices_are_in_the_hole() {
        for address in [BOOT_TIMER, VIRTIO_MMIO, IO_APIC] {
            assert!((DEVICE_HOLE..ABOVE_HOLE).contains(&address.0));
        }
    }
}
