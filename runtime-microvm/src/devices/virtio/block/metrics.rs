//! What a disk did.

use serde::{Deserialize, Serialize};

/// Counters of one disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockMetrics {
    /// Kicks by the guest.
    pub kicks: u64,
    /// Reads completed.
    pub reads: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Requests that ended in an error, refused writes included.
    pub errors: u64,
}
