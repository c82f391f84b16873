//! A queue between two requests.

use serde::{Deserialize, Serialize};
use virtio_queue::Queue;

use super::VirtQueue;

/// What the driver configured, and how far both sides are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueState {
    next_avail: u16,
    next_used: u16,
    size: u16,
    ready: bool,
    desc_table: u64,
    avail_ring: u64,
    used_ring: u64,
    unannounced: u16,
}

impl VirtQueue {
    /// The state now.
    #[must_use]
    pub fn save(&self) -> QueueState {
        let state = self.queue.state();
        QueueState {
            next_avail: state.next_avail,
            next_used: state.next_used,
            size: state.size,
            ready: state.ready,
            desc_table: state.desc_table,
            avail_ring: state.avail_ring,
            used_ring: state.used_ring,
            unannounced: self.unannounced,
        }
    }

    /// A queue of at most `max_size` descriptors in this state; `None` when no
    /// driver could have brought it there.
    #[must_use]
    pub fn restored(state: &QueueState, max_size: u16) -> Option<Self> {
        let queue = Queue::try_from(virtio_queue::QueueState {
            max_size,
            next_avail: state.next_avail,
            next_used: state.next_used,
            // As the features say, which the transport knows.
            event_idx_enabled: false,
            size: state.size,
            ready: state.ready,
            desc_table: state.desc_table,
            avail_ring: state.avail_ring,
            used_ring: state.used_ring,
        });
        Some(Self { queue: queue.ok()?, unannounced: state.unannounced })
    }
}
