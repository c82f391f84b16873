//! virtio-pmem (virtio 1.2, section 5.19): the root filesystem's disk as a range
//! of the guest's memory.
//!
//! The disk's file is mapped, not read: a guest that mounts it with DAX uses the
//! host's page cache as its own, so that each page of an image is in memory once,
//! however many guests there are. The guest can read it and nothing else.

mod device;
mod metrics;
mod persist;
#[cfg(test)]
mod tests;

pub use device::Pmem;
pub use metrics::PmemMetrics;
pub use persist::PmemState;

/// Device id.
const ID: u32 = 27;

/// The only request there is, `VIRTIO_PMEM_REQ_TYPE_FLUSH`.
const T_FLUSH: u32 = 0;

/// Results, `VIRTIO_PMEM_RESP_TYPE_OK` and `_EIO`: -1.
const OK: u32 = 0;
const EIO: u32 = u32::MAX;
