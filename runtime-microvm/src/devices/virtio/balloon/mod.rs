//! virtio-balloon (virtio 1.2, section 5.5), for one of its features: the guest
//! reports pages it has freed, and the host takes their memory back until they
//! are touched again.
//!
//! The balloon itself is never inflated. What a guest has not touched takes no
//! memory of the host's, and what it has freed is reported: nothing would be left
//! to squeeze out but its page cache, which it needs more than the host does.

mod device;
mod metrics;
mod persist;
#[cfg(test)]
mod tests;

pub use device::Balloon;
pub use metrics::BalloonMetrics;
pub use persist::BalloonState;

/// Device id.
const ID: u32 = 5;

/// `VIRTIO_BALLOON_F_PAGE_REPORTING`.
const F_REPORTING: u64 = 1 << 5;

/// Index of the queue of reports. The specification counts the queues of features
/// that were not agreed on, drivers for the MMIO transport and other monitors do
/// not: it comes right after those for inflating and deflating.
const REPORTS: usize = 2;
