//! What every device can do beside its work: be saved between two requests, and
//! be put back into another process.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::VirtioDevice;

/// A saved state that does not fit the device it is to be put into.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RestoreError {
    /// The device has other queues.
    #[error("the saved device {device} has {found} queues instead of {expected}")]
    QueueCount {
        /// Its device id.
        device: u32,
        /// How many were saved.
        found: usize,
        /// How many there are.
        expected: usize,
    },
    /// A queue is no queue.
    #[error("queue {queue} of the saved device {device} is not in guest memory")]
    Queue {
        /// Its device id.
        device: u32,
        /// Which queue.
        queue: usize,
    },
    /// Its guest has mounted what the host shared.
    #[error("the saved machine has files of its host mounted")]
    Mounted,
    /// The disk is another one.
    #[error("the disk has {found} bytes, the saved machine's had {expected}")]
    DiskLength {
        /// What it has.
        found: u64,
        /// What it had.
        expected: u64,
    },
}

/// A device whose own state can be saved. Its queues and the registers of the
/// transport are the transport's to save.
pub trait Persist: VirtioDevice {
    /// What there is to it beside its queues.
    type State: Serialize + DeserializeOwned;

    /// The state between two requests.
    fn save(&self) -> Self::State;

    /// Takes over a state; the device is as it was made.
    ///
    /// # Errors
    ///
    /// [`RestoreError`] when it cannot be this device's.
    fn restore(&mut self, state: &Self::State) -> Result<(), RestoreError>;
}
