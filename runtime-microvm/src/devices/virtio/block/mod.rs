//! virtio-blk (virtio 1.2, section 5.2): the root filesystem's disk, which the
//! guest can read and nothing else.

mod device;
mod metrics;
mod persist;
#[cfg(test)]
mod tests;

pub use device::Block;
pub use metrics::BlockMetrics;
pub use persist::BlockState;

/// Device id.
const ID: u32 = 2;
/// Unit of addresses and lengths, bytes.
const SECTOR: u64 = 512;

/// `VIRTIO_BLK_F_SEG_MAX`: without it Linux sends one segment per request.
const F_SEG_MAX: u64 = 1 << 2;
/// `VIRTIO_BLK_F_RO`: read-only.
const F_RO: u64 = 1 << 5;

/// Request types.
const T_IN: u32 = 0;
const T_OUT: u32 = 1;
const T_GET_ID: u32 = 8;

/// Request results.
const S_OK: u8 = 0;
const S_IOERR: u8 = 1;
const S_UNSUPP: u8 = 2;
