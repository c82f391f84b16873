//! virtio-rng (virtio 1.2, section 5.4): random bytes from the host's kernel.

mod device;
mod metrics;
mod persist;
#[cfg(test)]
mod tests;

pub use device::Rng;
pub use metrics::RngMetrics;
pub use persist::RngState;

/// Device id.
const ID: u32 = 4;
