//! The queue of the disk.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::{
    BlockMetrics, F_RO, F_SEG_MAX, ID, S_IOERR, S_OK, S_UNSUPP, SECTOR, T_GET_ID, T_IN, T_OUT,
};
use crate::devices::virtio::disk::DiskImage;
use crate::devices::virtio::{Buffers, Chain, Malformed, Notify, VirtQueue, VirtioDevice};
use crate::kvm::GuestRam;

/// Size of the queue. Linux allocates and initialises one request structure
/// per half of it at boot, and reads ahead 128 KiB: 32 pages.
const QUEUE_SIZE: u16 = 64;
/// Segments of a request: all descriptors but those of header and status.
const SEG_MAX: u32 = QUEUE_SIZE as u32 - 2;
/// Request header: type, reserved, sector.
const HEADER_LEN: usize = 16;
/// Length of the answer to `VIRTIO_BLK_T_GET_ID`.
const ID_LEN: usize = 20;
/// Configuration: capacity u64, size_max u32, seg_max u32.
const CONFIG_LEN: usize = 16;

/// A read-only disk.
#[derive(Debug)]
pub struct Block {
    file: File,
    pub(super) len: u64,
    serial: [u8; ID_LEN],
    config: [u8; CONFIG_LEN],
    metrics: BlockMetrics,
}

impl Block {
    /// The disk of `image`; `serial` is what the guest sees as its name.
    #[must_use]
    pub fn new(image: DiskImage, serial: &str) -> Self {
        let DiskImage { file, len } = image;
        let mut id = [0; ID_LEN];
        let named = serial.len().min(ID_LEN);
        id[..named].copy_from_slice(&serial.as_bytes()[..named]);
        let mut config = [0; CONFIG_LEN];
        config[..8].copy_from_slice(&(len / SECTOR).to_le_bytes());
        config[12..].copy_from_slice(&SEG_MAX.to_le_bytes());
        Self { file, len, serial: id, config, metrics: BlockMetrics::default() }
    }

    /// What it did so far.
    #[must_use]
    pub fn metrics(&self) -> BlockMetrics {
        self.metrics
    }

    /// Serves one request; returns the number of bytes written to the guest.
    fn serve(&mut self, chain: &Chain<'_>) -> Result<usize, Malformed> {
        let mut header = [0; HEADER_LEN];
        chain.readable().read_at(0, &mut header)?;
        let [kind, _, sector_low, sector_high] = std::array::from_fn(|word| {
            let mut bytes = [0; 4];
            bytes.copy_from_slice(&header[word * 4..word * 4 + 4]);
            u32::from_le_bytes(bytes)
        });
        let sector = u64::from(sector_high) << 32 | u64::from(sector_low);

        let writable = chain.writable();
        // The result is the last byte the device may write.
        let room = writable.len().checked_sub(1).ok_or(Malformed::TooShort)?;
        let (status, written) = match kind {
            T_IN => match self.read(sector, &writable, room) {
                Some(read) => (S_OK, read),
                None => (S_IOERR, 0),
            },
            T_GET_ID if room >= ID_LEN => {
                writable.write_at(0, &self.serial)?;
                (S_OK, ID_LEN)
            }
            T_OUT | T_GET_ID => (S_IOERR, 0),
            _ => (S_UNSUPP, 0),
        };
        if status != S_OK {
            self.metrics.errors += 1;
        }
        writable.write_at(room, &[status])?;
        Ok(written + 1)
    }

    /// Reads `len` bytes from `sector` on into the guest; `None` when they are
    /// not all on the disk, or cannot be read.
    fn read(&mut self, sector: u64, to: &Buffers<'_, '_>, len: usize) -> Option<usize> {
        let start = sector.checked_mul(SECTOR)?;
        let end = start.checked_add(len as u64)?;
        if end > self.len || !(len as u64).is_multiple_of(SECTOR) {
            return None;
        }
        let mut done = 0;
        while done < len {
            let pieces = to.iovecs(done, len - done);
            let count = libc::c_int::try_from(pieces.len()).ok()?;
            let offset = libc::off_t::try_from(start + done as u64).ok()?;
            // SAFETY: every piece is guest memory that was checked and stays mapped as
            // long as the chain; the guest racing with the kernel's writes is its own
            // affair.
            let read =
                unsafe { libc::preadv(self.file.as_raw_fd(), pieces.as_ptr(), count, offset) };
            match usize::try_from(read) {
                // The file got shorter under us.
                Ok(0) => return None,
                Ok(read) => done += read,
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        self.metrics.reads += 1;
        self.metrics.read_bytes += len as u64;
        Some(len)
    }
}

impl VirtioDevice for Block {
    fn id(&self) -> u32 {
        ID
    }

    fn features(&self) -> u64 {
        F_RO | F_SEG_MAX
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
