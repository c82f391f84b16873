//! virtio-fs (virtio 1.2, section 5.11): directories of the host, served by a process
//! that has nothing else ([`crate::files`]).

mod asker;
mod device;
mod metrics;
mod persist;
#[cfg(test)]
mod tests;

pub use asker::{Ask, Asker};
pub use device::Fs;
pub use metrics::FsMetrics;
pub use persist::FsState;

/// Device id.
const ID: u32 = 26;
