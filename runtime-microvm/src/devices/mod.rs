//! The devices a guest sees.
//!
//! Whatever a guest writes to a register or a queue is hostile until checked:
//! no access may panic, touch memory outside the guest, or take unbounded time
//! or memory on the host.

pub mod boot_timer;
pub mod bus;
pub mod i8042;
pub mod ioapic;
pub mod serial;
pub mod virtio;

/// A store to a device register by which the guest ends the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestEnd {
    /// Power-off by the boot timer, with the value stored.
    PowerOff(u32),
    /// Reset by the keyboard controller: what a kernel does after a panic.
    Reset,
}
