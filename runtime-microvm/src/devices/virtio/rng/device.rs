//! The queue of the source of randomness.

use super::{ID, RngMetrics};
use crate::devices::virtio::{Malformed, Notify, VirtQueue, VirtioDevice};
use crate::kvm::GuestRam;

/// Size of the queue; Linux keeps one request in flight.
const QUEUE_SIZE: u16 = 8;
/// Most bytes per request: `getrandom(2)` neither blocks nor is interrupted
/// for that many, and a guest cannot keep the host busy with one request.
const MAX_BYTES: usize = 256;

/// The device.
#[derive(Debug, Default)]
pub struct Rng {
    metrics: RngMetrics,
}

impl Rng {
    /// A source of randomness.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What it did so far.
    #[must_use]
    pub fn metrics(&self) -> RngMetrics {
        self.metrics
    }
}

impl VirtioDevice for Rng {
    fn id(&self) -> u32 {
        ID
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &[QUEUE_SIZE]
    }

    fn config(&self) -> &[u8] {
        &[]
    }

    fn kick(
        &mut self,
        queue: usize,
        queues: &mut [VirtQueue],
        ram: &GuestRam,
    ) -> Result<Notify, Malformed> {
        self.metrics.kicks += 1;
        let Some(queue) = queues.get_mut(queue) else { return Ok(Notify::No) };
        queue.serve(ram, |chain| {
            let mut bytes = [0_u8; MAX_BYTES];
            let wanted = chain.writable().len().min(MAX_BYTES);
            // SAFETY: `bytes` is valid for writes of at least `wanted` bytes.
            let drawn = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), wanted, 0) };
            let drawn = usize::try_from(drawn).unwrap_or(0);
            chain.writable().write_at(0, &bytes[..drawn])?;
            self.metrics.bytes += drawn as u64;
            Ok(drawn)
        })
    }
}
