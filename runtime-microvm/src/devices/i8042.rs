//! The keyboard controller, as far as a kernel uses it to reset the machine.

use super::GuestEnd;

/// Status (read) and command (write) port.
pub const PORT: u16 = 0x64;
/// Command: pulse the reset line.
const RESET: u8 = 0xfe;

/// A load from the port: input buffer empty, so that a kernel that waits for
/// the controller does not wait (`kb_wait`, arch/x86/kernel/reboot.c).
pub fn read(data: &mut [u8]) {
    data.fill(0);
}

/// A store to the port.
#[must_use]
pub fn write(data: &[u8]) -> Option<GuestEnd> {
    (data.first() == Some(&RESET)).then_some(GuestEnd::Reset)
}
