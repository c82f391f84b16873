//! The queue of the mapped disk.

use super::{EIO, ID, OK, PmemMetrics, T_FLUSH};
use crate::devices::virtio::{Chain, Malformed, Notify, VirtQueue, VirtioDevice};
use crate::kvm::{GuestRam, MappedFile};

/// Size of the queue: a disk that cannot be written is never flushed.
const QUEUE_SIZE: u16 = 8;
/// Configuration: start u64, size u64.
const CONFIG_LEN: usize = 16;

/// The device that tells where the disk is.
#[derive(Debug)]
pub struct Pmem {
    file: MappedFile,
    config: [u8; CONFIG_LEN],
    metrics: PmemMetrics,
}

impl Pmem {
    /// Announces a disk that the machine has among its memory.
    #[must_use]
    pub fn new(file: MappedFile) -> Self {
        let mut config = [0; CONFIG_LEN];
        config[..8].copy_from_slice(&file.start().0.to_le_bytes());
        config[8..].copy_from_slice(&file.size().to_le_bytes());
        Self { file, config, metrics: PmemMetrics::default() }
    }

    /// The disk.
    #[must_use]
    pub fn file(&self) -> &MappedFile {
        &self.file
    }

    /// What it did so far.
    #[must_use]
    pub fn metrics(&self) -> PmemMetrics {
        self.metrics
    }

    /// Serves one request; returns the number of bytes written to the guest.
    fn serve(&mut self, chain: &Chain<'_>) -> Result<usize, Malformed> {
        let mut kind = [0; 4];
        chain.readable().read_at(0, &mut kind)?;
        // Nothing can have been written, so that everything is on the disk.
        let result = if u32::from_le_bytes(kind) == T_FLUSH {
            self.metrics.flushes += 1;
            OK
        } else {
            EIO
        };
        chain.writable().write_at(0, &result.to_le_bytes())?;
        Ok(size_of_val(&result))
    }
}

impl VirtioDevice for Pmem {
    fn id(&self) -> u32 {
        ID
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &[QUEUE_SIZE]
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn kick(
        &mut self,
        queue: usize,
        queues: &mut [VirtQueue],
        ram: &GuestRam,
    ) -> Result<Notify, Malformed> {
        self.metrics.kicks += 1;
        let Some(queue) = queues.get_mut(queue) else { return Ok(Notify::No) };
        queue.serve(ram, |chain| self.serve(chain))
    }
}
