//! What the card did.

use serde::{Deserialize, Serialize};

/// Counters of the device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetMetrics {
    /// Kicks by the guest.
    pub kicks: u64,
    /// Frames the guest sent.
    pub sent: u64,
    /// And their bytes.
    pub sent_bytes: u64,
    /// Frames of the guest that the host did not take.
    pub not_sent: u64,
    /// Frames the guest received.
    pub received: u64,
    /// And their bytes.
    pub received_bytes: u64,
    /// Of those, how many went through a buffer of ours, for want of the guest's.
    pub copied: u64,
    /// Frames for which the guest's buffers will never be enough.
    pub not_received: u64,
    /// How often frames had to wait for buffers.
    pub starved: u64,
}
