//! The guests of the profile: a few dozen bytes of machine code each, position
//! independent, entered in 64-bit mode.
//!
//! They speak to the monitor over [`MAILBOX`], an address behind which there is
//! no memory: reading it asks for a number of iterations, writing it says that
//! they are done. A port would do as well in ring 0, but in ring 3 it would take
//! a task-state segment.

use vm_memory::GuestAddress;

/// Where the guests read and write: identity-mapped, and not memory.
pub const MAILBOX: u32 = 0x2000_0000;
/// The port the exits are made on, and by which a guest says that it halts.
pub const PORT: u8 = 0x10;
/// The port by which a guest says that it was woken.
pub const AWAKE_PORT: u8 = 0x11;
/// `out` or `mov` instructions between two jumps in the guests that only exit:
/// the jump costs an emulating KVM as much as any other instruction.
const UNROLLED: usize = 32;

/// Where the interrupt descriptors are: behind the page tables
/// ([`crate::boot::layout`]).
pub const IDT: GuestAddress = GuestAddress(0xc000);
/// The interrupt that wakes; the first 32 are the processor's exceptions.
pub const WAKE_VECTOR: u8 = 0x30;

/// Registers of the local APIC in x2APIC mode (SDM 3A, table 11-6).
const MSR_X2APIC_EOI: u32 = 0x80b;
const MSR_X2APIC_SPURIOUS: u32 = 0x80f;
/// Spurious vector 0xff, APIC software-enabled.
const APIC_ENABLED: u32 = 0x1ff;

/// Writes [`PORT`] for ever.
pub fn port_writes() -> Vec<u8> {
    let mut code = [0xe6, PORT].repeat(UNROLLED); // out PORT, al
    jump_back(&mut code, 0);
    code
}

/// Writes [`MAILBOX`] for ever.
pub fn mailbox_writes() -> Vec<u8> {
    let mut code = mailbox_in_edi();
    let start = code.len();
    code.extend([0x89, 0x07].repeat(UNROLLED)); // mov [rdi], eax
    jump_back(&mut code, start);
    code
}

/// Counts down from what it reads: two instructions an iteration.
pub fn countdown() -> Vec<u8> {
    iterate(&[])
}

/// Instructions of one iteration of [`countdown`]: `dec`, `jnz`.
pub const COUNTDOWN_INSTRUCTIONS: f64 = 2.0;

/// CPUIDs in each iteration of [`cpuid`].
pub const CPUIDS: u32 = 8;

/// Asks for CPUID leaf 0, [`CPUIDS`] times in each iteration.
pub fn cpuid() -> Vec<u8> {
    iterate(&[0x31, 0xc0, 0x0f, 0xa2].repeat(CPUIDS as usize)) // xor eax, eax; cpuid
}

/// The same loop without the CPUIDs.
pub fn no_cpuid() -> Vec<u8> {
    iterate(&[0x31, 0xc0].repeat(CPUIDS as usize)) // xor eax, eax
}

/// Repeats `body`, which leaves ESI and EDI alone, as often as it reads, for ever.
fn iterate(body: &[u8]) -> Vec<u8> {
    let mut code = mailbox_in_edi();
    let again = code.len();
    code.extend([0x8b, 0x37]); // mov esi, [rdi]
    let iteration = code.len();
    code.extend(body);
    code.extend([0xff, 0xce]); // dec esi
    code.extend([0x75, back(code.len(), iteration)]); // jnz iteration
    code.extend([0x89, 0x37]); // mov [rdi], esi
    jump_back(&mut code, again);
    code
}

/// Halts with interrupts allowed, for ever; the handler says that it runs before
/// it does anything else. Returns the handler's offset as well.
pub fn halts() -> (Vec<u8>, usize) {
    let mut code = write_msr(MSR_X2APIC_SPURIOUS, APIC_ENABLED);
    let halt = code.len();
    // An interrupt cannot come between `sti` and the instruction behind it.
    code.extend([0xe6, PORT, 0xfb, 0xf4, 0xfa]); // out PORT, al; sti; hlt; cli
    jump_back(&mut code, halt);
    let handler = code.len();
    code.extend([0xe6, AWAKE_PORT]); // out AWAKE_PORT, al
    code.extend(write_msr(MSR_X2APIC_EOI, 0));
    code.extend([0x48, 0xcf]); // iretq
    (code, handler)
}

/// A 64-bit interrupt gate to `handler` in the segment `selector` (SDM 3A, 7.14.1).
pub fn gate(handler: u64, selector: u16) -> [u8; 16] {
    /// Present, privilege level 0, interrupt gate.
    const PRESENT_INTERRUPT: u64 = 0x8e << 40;
    let low = (handler & 0xffff)
        | (u64::from(selector) << 16)
        | PRESENT_INTERRUPT
        | ((handler >> 16 & 0xffff) << 48);
    let mut gate = [0; 16];
    gate[..8].copy_from_slice(&low.to_le_bytes());
    gate[8..].copy_from_slice(&(handler >> 32).to_le_bytes());
    gate
}

fn mailbox_in_edi() -> Vec<u8> {
    let mut code = vec![0xbf]; // mov edi, MAILBOX
    code.extend(MAILBOX.to_le_bytes());
    code
}

fn write_msr(register: u32, value: u32) -> Vec<u8> {
    let mut code = vec![0xb9]; // mov ecx, register
    code.extend(register.to_le_bytes());
    code.push(0xb8); // mov eax, value
    code.extend(value.to_le_bytes());
    code.extend([0x31, 0xd2, 0x0f, 0x30]); // xor edx, edx; wrmsr
    code
}

fn jump_back(code: &mut Vec<u8>, target: usize) {
    code.extend([0xeb, back(code.len(), target)]);
}

/// The displacement of a two-byte jump at `at` back to `target`.
fn back(at: usize, target: usize) -> u8 {
    let distance = u8::try_from(at + 2 - target).unwrap_or(u8::MAX);
    debug_assert!(distance <= 128, "farther than a short jump reaches");
    distance.wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_countdown_is_a_dozen_bytes() {
        let expected = [
            0xbf, 0, 0, 0, 0x20, // mov edi, 0x20000000
            0x8b, 0x37, // again: mov esi, [rdi]
            0xff, 0xce, // iteration: dec esi
            0x75, 0xfc, // jnz iteration
            0x89, 0x37, // mov [rdi], esi
            0xeb, 0xf6, // jmp again
        ];
        assert_eq!(countdown(), expected);
    }

    #[test]
    fn every_jump_is_short() {
        for code in [port_writes(), mailbox_writes(), cpuid(), no_cpuid(), halts().0] {
            assert!(code.len() < 128);
        }
        assert_eq!(cpuid().len(), no_cpuid().len() + 2 * CPUIDS as usize);
        assert_eq!(back(64, 0), 0xbe);
    }

    #[test]
    fn a_gate_holds_its_handler_in_three_pieces() {
        let gate = gate(0x1122_3344_5566_7788, 0x10);
        assert_eq!(gate[..2], [0x88, 0x77]);
        assert_eq!(gate[2..6], [0x10, 0, 0, 0x8e]);
        assert_eq!(gate[6..12], [0x66, 0x55, 0x44, 0x33, 0x22, 0x11]);
    }
}
