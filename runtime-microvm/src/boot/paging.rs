//! The identity mapping and segment descriptors of the entry state.

use vm_memory::{Bytes, GuestAddress};

use super::{BootError, layout, write_error};
use crate::kvm::GuestRam;

/// Page-table entry: present and writable (SDM 3A, 4.5).
const PRESENT_WRITABLE: u64 = 0b11;
/// Page-directory entry: maps 2 MiB.
const LARGE: u64 = 1 << 7;
/// 2 MiB.
const LARGE_PAGE: u64 = 2 << 20;

/// Writes page tables that map the first GiB onto itself in 2 MiB pages.
/// (1 GiB pages would be one entry, but triple-fault on kvm_pvm.)
pub fn write(ram: &GuestRam) -> Result<(), BootError> {
    let link = |table: GuestAddress| table.0 | PRESENT_WRITABLE;
    let directory: Vec<u8> = (0..512_u64)
        .flat_map(|index| ((index * LARGE_PAGE) | PRESENT_WRITABLE | LARGE).to_le_bytes())
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
        write(&ram).unwrap();
        for address in [0, 0x1234, 0x10_0000, 0x100_0000, (1 << 30) - 1] {
            assert_eq!(walk(&ram, address), Some(address));
        }
        assert_eq!(walk(&ram, 1 << 30), None);
    }
}
