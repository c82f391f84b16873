//! What the connections did.

use serde::{Deserialize, Serialize};

/// Counters of all connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VsockMetrics {
    /// Kicks by the guest.
    pub kicks: u64,
    /// Packets from the guest.
    pub packets_from_guest: u64,
    /// Packets to the guest.
    pub packets_to_guest: u64,
    /// Connections made, by either side.
    pub connections: u64,
    /// Connections reset by us: refused, or broken by either side.
    pub resets: u64,
}
