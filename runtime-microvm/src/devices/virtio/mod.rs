//! Virtio devices behind the MMIO transport (virtio 1.2, section 4.2).
//!
//! Each device folder has the same files: `mod.rs` (what the specification
//! calls things), `device.rs` (the queues) and what the device needs besides.
//!
//! A request is served on the thread that sees the kick, which is the vCPU's:
//! there is one vCPU, and waking another thread costs more than any of our
//! requests takes.

pub mod balloon;
pub mod block;
mod chain;
pub mod disk;
#[cfg(test)]
mod driver;
pub mod fs;
#[cfg(test)]
mod hostile;
pub mod mmio;
#[cfg(test)]
mod mmio_tests;
pub mod net;
pub mod persist;
#[cfg(test)]
mod persist_tests;
pub mod pmem;
mod queue;
pub mod registers;
pub mod rng;
pub mod vsock;

pub use chain::{Buffers, Chain};
pub use queue::{QueueState, VirtQueue};

use crate::kvm::GuestRam;

/// `VIRTIO_F_VERSION_1` (virtio 1.2, section 6): the only feature of the
/// transport that every device offers. Ring features would cost most guests more
/// than they save: kicks are handled at once, and few.
pub const VERSION_1: u64 = 1 << 32;

/// `VIRTIO_F_EVENT_IDX` (virtio 1.2, section 6): for devices whose other side has a
/// pace of its own.
pub const EVENT_IDX: u64 = 1 << 29;

/// A guest driver broke the rules of the queue; the device stops until it is
/// reset (`DEVICE_NEEDS_RESET`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The available ring claims more chains than fit, or cannot be read.
    #[error("the available ring is inconsistent")]
    AvailableRing,
    /// A chain loops, is cut off, or is too long.
    #[error("a descriptor chain loops, is cut off, or is too long")]
    Chain,
    /// A descriptor points outside guest memory.
    #[error("a descriptor points outside guest memory")]
    OutOfRange,
    /// A device-readable descriptor follows a device-writable one.
    #[error("a readable descriptor follows a writable one")]
    Order,
    /// The buffers of a request cannot hold its header or its result.
    #[error("a request has no room for its header or its result")]
    TooShort,
    /// The used ring cannot be written.
    #[error("the used ring is outside guest memory")]
    UsedRing,
}

/// Whether the guest is to be told of used buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notify {
    /// Nothing was used, or the driver asked not to be told.
    No,
    /// Send an interrupt.
    Yes,
}

/// What one kind of device adds to the transport.
pub trait VirtioDevice: Send {
    /// Device id (virtio 1.2, section 5).
    fn id(&self) -> u32;

    /// Feature bits of the device itself.
    fn features(&self) -> u64 {
        0
    }

    /// Maximum size of each queue.
    fn queue_sizes(&self) -> &'static [u16];

    /// The configuration space.
    fn config(&self) -> &[u8];

    /// These features are in force from here on; none after a reset.
    fn agreed(&mut self, _features: u64) {}

    /// Whether the configuration space has changed since the last call, so that the
    /// driver is to be told.
    fn take_config_change(&mut self) -> bool {
        false
    }

    /// The driver is ready (`DRIVER_OK`).
    ///
    /// # Errors
    ///
    /// [`Malformed`] when a ring cannot be used.
    fn activate(
        &mut self,
        _queues: &mut [VirtQueue],
        _ram: &GuestRam,
    ) -> Result<(), Malformed> {
        Ok(())
    }

    /// The driver kicked `queue`.
    ///
    /// # Errors
    ///
    /// [`Malformed`]: the device needs a reset.
    fn kick(
        &mut self,
        queue: usize,
        queues: &mut [VirtQueue],
        ram: &GuestRam,
    ) -> Result<Notify, Malformed>;

    /// The driver reset the device: forget everything it was told.
    fn reset(&mut self) {}
}
