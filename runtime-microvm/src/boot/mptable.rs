//! The MP table (Intel MultiProcessor Specification 1.4): one processor, one
//! I/O APIC, and which pin each device interrupt arrives at.
//!
//! It is how a kernel without ACPI learns of the I/O APIC, and the cheapest to
//! parse for it.

use vm_memory::Bytes;

use super::{BootError, layout, write_error};
use crate::devices::ioapic;
use crate::kvm::GuestRam;

/// MP specification revision 1.4.
const SPEC_REVISION: u8 = 4;
/// Version register of an integrated local APIC.
const LOCAL_APIC_VERSION: u8 = 0x14;
/// APIC id of the processor.
const PROCESSOR: u8 = 0;
/// APIC id of the I/O APIC.
const IO_APIC_ID: u8 = 1;
/// The only bus.
const ISA_BUS: u8 = 0;

/// Writes the table.
pub fn write(ram: &GuestRam) -> Result<(), BootError> {
    let table = floating_pointer_and_table();
    debug_assert!(layout::MP_TABLE.0 + table.len() as u64 <= layout::MP_TABLE_END);
    ram.write_slice(&table, layout::MP_TABLE).map_err(write_error("MP table"))
}

fn floating_pointer_and_table() -> Vec<u8> {
    const POINTER_LEN: u32 = 16;
    let table_at = u32::try_from(layout::MP_TABLE.0).unwrap_or_default() + POINTER_LEN;
    let mut pointer = b"_MP_".to_vec();
    pointer.extend(table_at.to_le_bytes());
    // Length in 16-byte units, revision, checksum, five feature bytes.
    pointer.extend([1, SPEC_REVISION, 0, 0, 0, 0, 0, 0]);
    seal(&mut pointer, 10);
    pointer.extend(configuration_table());
    pointer
}

fn configuration_table() -> Vec<u8> {
    let mut entries: Vec<Vec<u8>> = vec![processor(), isa_bus(), io_apic()];
    let pins = layout::SERIAL_IRQ..ioapic::PINS;
    entries.extend(pins.map(interrupt));
    let count = u16::try_from(entries.len()).unwrap_or_default();
    let body = entries.concat();

    let mut table = b"PCMP".to_vec();
    let len = u16::try_from(44 + body.len()).unwrap_or_default();
    table.extend(len.to_le_bytes());
    table.extend([SPEC_REVISION, 0]);
    table.extend(b"BULKHEADmicroVM     "); // OEM id (8), product id (12)
    table.extend([0; 6]); // no OEM table
    table.extend(count.to_le_bytes());
    table.extend(layout::LOCAL_APIC.to_le_bytes());
    table.extend([0; 4]); // no extended entries
    table.extend(body);
    seal(&mut table, 7);
    table
}

/// Type 0: enabled bootstrap processor.
fn processor() -> Vec<u8> {
    let mut entry = vec![0, PROCESSOR, LOCAL_APIC_VERSION, 0b11];
    entry.extend([0; 16]); // signature, feature flags: from CPUID
    entry
}

/// Type 1.
fn isa_bus() -> Vec<u8> {
    let mut entry = vec![1, ISA_BUS];
    entry.extend(b"ISA   ");
    entry
}

/// Type 2: enabled.
fn io_apic() -> Vec<u8> {
    let mut entry = vec![2, IO_APIC_ID, ioapic::VERSION, 1];
    entry.extend(u32::try_from(layout::IO_APIC.0).unwrap_or_default().to_le_bytes());
    entry
}

/// Type 3: vectored interrupt; polarity and trigger as the bus has them, which
/// for ISA is an active-high edge.
fn interrupt(pin: u8) -> Vec<u8> {
    vec![3, 0, 0, 0, ISA_BUS, pin, IO_APIC_ID, pin]
}

/// Sets the byte at `at` so that all bytes sum up to zero.
fn seal(bytes: &mut [u8], at: usize) {
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    bytes[at] = bytes[at].wrapping_sub(sum);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
    }

    #[test]
    fn checksums_and_lengths_hold() {
        let bytes = floating_pointer_and_table();
        assert_eq!(sum(&bytes[..16]), 0);
        let table = &bytes[16..];
        assert_eq!(sum(table), 0);
        assert_eq!(usize::from(u16::from_le_bytes([table[4], table[5]])), table.len());
        assert!(layout::MP_TABLE.0 + bytes.len() as u64 <= layout::MP_TABLE_END);
    }

    #[test]
    fn every_device_interrupt_is_routed_to_its_own_pin() {
        let table = configuration_table();
        let mut at = 44;
        let mut pins = Vec::new();
        while at < table.len() {
            match table[at] {
                0 => at += 20,
                3 => {
                    assert_eq!(table[at + 5], table[at + 7]);
                    pins.push(table[at + 7]);
                    at += 8;
                }
                _ => at += 8,
            }
        }
        let wanted: Vec<u8> = (layout::SERIAL_IRQ..ioapic::PINS).collect();
        assert_eq!(pins, wanted);
    }
}
