//! What a mapped disk did.

use serde::{Deserialize, Serialize};

/// Counters of the device. Reading needs no request, so that there is little to
/// count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PmemMetrics {
    /// Kicks by the guest.
    pub kicks: u64,
    /// Flushes the guest asked for.
    pub flushes: u64,
}
