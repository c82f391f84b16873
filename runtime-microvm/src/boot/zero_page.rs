//! `struct boot_params`: what the boot loader tells the kernel.

use linux_loader::loader::bootparam::{boot_e820_entry, boot_params, setup_header};
use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryRegion};

use super::{BootError, layout, write_error};
use crate::kvm::GuestRam;

/// `E820_TYPE_RAM` (asm/e820/types.h).
const E820_RAM: u32 = 1;
/// "Undefined" boot loader (boot.rst, `type_of_loader`).
const LOADER_UNDEFINED: u8 = 0xff;
/// `boot_flag` (boot.rst).
const BOOT_FLAG: u16 = 0xaa55;
/// `HdrS` in little endian.
const HEADER_MAGIC: u32 = 0x5372_6448;
/// `kernel_alignment` of an ordinary x86-64 kernel, for ELF images, which have
/// no setup header.
const KERNEL_ALIGNMENT: u32 = 0x100_0000;

/// Where the first piece of memory is cut in two: Linux takes a map with fewer
/// than two entries for damaged (`append_e820_table`, arch/x86/kernel/e820.c),
/// and joins the halves again.
const CUT: u64 = layout::HIGH_MEMORY.0;

/// Writes the zero page: the command line, and a memory map without holes.
/// (Every hole costs the kernel work at boot.)
pub fn write(
    ram: &GuestRam,
    header: Option<setup_header>,
    command_line_len: usize,
) -> Result<(), BootError> {
    let hdr = header.unwrap_or(setup_header {
        boot_flag: BOOT_FLAG,
        header: HEADER_MAGIC,
        kernel_alignment: KERNEL_ALIGNMENT,
        ..Default::default()
    });
    let mut params = boot_params { hdr, ..Default::default() };
    params.hdr.type_of_loader = LOADER_UNDEFINED;
    params.hdr.cmd_line_ptr = u32::try_from(layout::COMMAND_LINE.0).unwrap_or_default();
    params.hdr.cmdline_size = u32::try_from(command_line_len).unwrap_or_default();
    let pieces = ram.iter().flat_map(|region| {
        let (start, end) = (region.start_addr().0, region.start_addr().0 + region.len());
        let cut = CUT.clamp(start, end);
        [(start, cut), (cut, end)]
    });
    let entries = pieces.filter(|(start, end)| start < end);
    for (slot, (start, end)) in params.e820_table.iter_mut().zip(entries) {
        *slot = boot_e820_entry { addr: start, size: end - start, r#type: E820_RAM };
        params.e820_entries += 1;
    }
    ram.write_obj(params, layout::ZERO_PAGE).map_err(write_error("zero page"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kvm::map_ram;

    #[test]
    fn the_memory_map_has_no_holes() {
        let ram = map_ram(64).unwrap();
        write(&ram, None, 12).unwrap();
        let params: boot_params = ram.read_obj(layout::ZERO_PAGE).unwrap();
        assert_eq!(params.e820_entries, 2);
        let entries = params.e820_table;
        let (first, second) = (entries[0], entries[1]);
        assert_eq!(({ first.addr }, { first.size }), (0, CUT));
        assert_eq!(({ second.addr }, { second.size }), (CUT, (64 << 20) - CUT));
        let (pointer, magic) = (params.hdr.cmd_line_ptr, params.hdr.header);
        assert_eq!((pointer, magic), (0x2_0000, HEADER_MAGIC));
    }
}
