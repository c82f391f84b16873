//! What the shares did.

use serde::{Deserialize, Serialize};

/// Counters of the device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsMetrics {
    /// Kicks by the guest.
    pub kicks: u64,
    /// Requests taken.
    pub requests: u64,
    /// Bytes of requests.
    pub bytes_in: u64,
    /// Bytes of answers.
    pub bytes_out: u64,
    /// Requests nobody answered.
    pub unanswered: u64,
}
