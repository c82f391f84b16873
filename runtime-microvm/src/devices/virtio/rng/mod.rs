//! virtio-rng (virtio 1.2, section 5.4): random bytes from the host's kernel.

mod device;
mod metrics;
#[cfg(test)]
mod tests;

pub use device::Rng;
pub use metrics::RngMetrics;

/// Device id.
const ID: u32 = 4;
