//! The identity mapping and segment descriptors of the entry state.

use vm_memory::{Bytes, GuestAddress};

use super::{BootError, Ring, layout, write_error};
use crate::kvm::GuestRam;

/// Page-table entry: present and writable (SDM 3A, 4.5).
const PRESENT_WRITABLE: u64 = 0b11;
/// Page-table entry: ring 3 may use it as well.
const USER: u64 = 1 << 2;
/// Page-directory entry: maps 2 MiB.
const LARGE: u64 = 1 << 7;
/// 2 MiB.
const LARGE_PAGE: u64 = 2 << 20;

/// Writes page tables that map the first GiB onto itself in 2 MiB pages.
/// (1 GiB pages would be one entry, but triple-fault on kvm_pvm.)
pub fn write(ram: &GuestRam, ring: Ring) -> Result<(), BootError> {
    let rights = match ring {
        Ring::Kernel => PRESENT_WRITABLE,
        Ring::User => PRESENT_WRITABLE | USER,
    };
    let link = |table: GuestAddress| table.0 | rights;
    let directory: Vec<u8> = (0..512_u64)
        .flat_map(|index| ((index * LARGE_PAGE) | rights | LARGE).to_le_bytes())
        .collect();
    ram.write_obj(link(layout::PDPT), layout::PML4).map_err(write_error("page tables"))?;
    ram.write_obj(link(layout::PAGE_DIRECTORY), layout::PDPT)
        .map_err(write_error("page tables"))?;
    ram.write_slice(&directory, layout::PAGE_DIRECTORY).map_err(write_error("page tables"))?;
    write_gdt(ram)
}

/// Null, null, 64-bit code, data: the selectors of [`layout::BOOT_CS`] and
/// [`layout::BOOT_DS`].
fn write_gdt(ram: &GuestRam) -> Result<(), BootError> {
    const CODE64: u64 = 0x00af_9b00_0000_ffff;
    const DATA: u64 = 0x00cf_9300_0000_ffff;
    let table: Vec<u8> = [0, 0, CODE64, DATA].into_iter().flat_map(u64::to_le_bytes).collect();
    ram.write_slice(&table, layout::BOOT_GDT).map_err(write_error("segment descriptors"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kvm::map_ram;

    /// Walks the tables as the processor would.
    fn walk(ram: &GuestRam, virt: u64) -> Option<u64> {
        let mut table = layout::PML4.0;
        for shift in [39, 30, 21] {
            let slot = GuestAddress(table + (virt >> shift & 0x1ff) * 8);
            let entry: u64 = ram.read_obj(slot).unwrap();
            if entry & 1 == 0 {
                return None;
            }
            if entry & LARGE != 0 {
                return Some((entry & !(LARGE_PAGE - 1)) | (virt & (LARGE_PAGE - 1)));
            }
            table = entry & !0xfff;
        }
        None
    }

    #[test]
    fn the_first_gib_maps_onto_itself() {
        let ram = map_ram(2).unwrap();
        write(&ram, Ring::Kernel).unwrap();
        for address in [0, 0x1234, 0x10_0000, 0x100_0000, (1 << 30) - 1] {
            assert_eq!(walk(&ram, address), Some(address));
        }
        assert_eq!(walk(&ram, 1 << 30), None);
    }

    #[test]
    fn ring_3_may_use_every_level_or_none() {
        for (ring, allowed) in [(Ring::Kernel, 0), (Ring::User, USER)] {
            let ram = map_ram(2).unwrap();
            write(&ram, ring).unwrap();
            for table in [layout::PML4, layout::PDPT, layout::PAGE_DIRECTORY] {
                let entry: u64 = ram.read_obj(table).unwrap();
                assert_eq!(entry & USER, allowed);
            }
        }
    }
}
