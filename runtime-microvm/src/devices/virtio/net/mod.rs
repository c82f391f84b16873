//! virtio-net (virtio 1.2, section 5.1): a network card whose other side is a tap
//! device of the host.
//!
//! A frame is one vectored system call between the tap and the guest's buffers.
//! Checksums and segmentation are left to whoever can do them last: the tap is told
//! what the guest's driver takes, and frames of up to 64 KiB pass in one piece.
//!
//! The card of a saved machine has no tap: its link is down. A clone gets one when it
//! goes on, with an address of its own.

mod device;
mod metrics;
mod persist;
mod receive;
mod tap;
#[cfg(test)]
pub(super) mod tests;
mod transmit;

pub use device::{Link, Net};
pub use metrics::NetMetrics;
pub use persist::NetState;
pub use tap::{Tap, TapError};

/// Device id.
const ID: u32 = 1;
/// Queue numbers.
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;

/// Feature bits (virtio 1.2, section 5.1.3). Segmentation of UDP (`UFO`) is not among
/// them: no Linux since 4.14 asks for it.
mod feature {
    /// The device completes checksums; the driver does.
    pub const CSUM: u64 = 1 << 0;
    pub const GUEST_CSUM: u64 = 1 << 1;
    pub const MTU: u64 = 1 << 3;
    pub const MAC: u64 = 1 << 5;
    /// The driver takes TCP segments that are larger than the MTU; the device does.
    pub const GUEST_TSO4: u64 = 1 << 7;
    pub const GUEST_TSO6: u64 = 1 << 8;
    pub const HOST_TSO4: u64 = 1 << 11;
    pub const HOST_TSO6: u64 = 1 << 12;
    /// A received frame may span several buffers.
    pub const MRG_RXBUF: u64 = 1 << 15;
    pub const STATUS: u64 = 1 << 16;
}

/// Length of the header before each frame, and where in it the number of buffers is
/// (`struct virtio_net_hdr_v1`, linux/virtio_net.h).
const HEADER_LEN: usize = 12;
const NUM_BUFFERS: usize = 10;
/// Ethernet's header with a VLAN tag.
const ETHERNET_LEN: usize = 18;
/// The longest packet there is.
const LONGEST_PACKET: usize = 65_535;
/// The longest frame with its headers.
const LONGEST: usize = HEADER_LEN + ETHERNET_LEN + LONGEST_PACKET;
