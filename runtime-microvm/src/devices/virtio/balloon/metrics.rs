//! What the balloon did.

use serde::{Deserialize, Serialize};

/// Counters of the device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalloonMetrics {
    /// Kicks by the guest.
    pub kicks: u64,
    /// Bytes the guest reported free and the host took back.
    pub reclaimed_bytes: u64,
}
