//! What the source of randomness did.

use serde::{Deserialize, Serialize};

/// Counters of the device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RngMetrics {
    /// Kicks by the guest.
    pub kicks: u64,
    /// Random bytes handed out.
    pub bytes: u64,
}
