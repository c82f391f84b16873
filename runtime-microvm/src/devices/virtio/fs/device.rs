//! The queues of the shares: requests go to whoever answers, and back.

use super::{Ask, FsMetrics, ID};
use crate::devices::virtio::{Buffers, Chain, Malformed, Notify, VirtQueue, VirtioDevice};
use crate::files::WINDOW_LEN;
use crate::kvm::GuestRam;

/// Sizes of the queue for what goes first and of that for requests: of the latter, the
/// descriptors of the largest request, 256 pages and what goes before them.
const QUEUE_SIZES: &[u16] = &[16, 512];
/// Configuration: the tag, and the number of request queues.
const CONFIG_LEN: usize = 40;
/// Longest tag.
const TAG_LEN: usize = 36;
/// Lengths of `struct fuse_in_header` and `struct fuse_out_header` (linux/fuse.h).
const IN_HEADER: usize = 40;
const OUT_HEADER: usize = 16;
/// `FUSE_INIT`.
const INIT: u32 = 26;

/// The device. Without anybody to ask, every request is an error.
#[derive(Debug)]
pub struct Fs {
    asker: Option<Box<dyn Ask>>,
    config: [u8; CONFIG_LEN],
    /// The guest has talked to the one who answers: another would not know of what.
    pub(super) mounted: bool,
    metrics: FsMetrics,
}

impl Fs {
    /// A device which the guest mounts by `tag`.
    #[must_use]
    pub fn new(tag: &str, asker: Option<Box<dyn Ask>>) -> Self {
        let mut config = [0; CONFIG_LEN];
        let named = tag.len().min(TAG_LEN);
        config[..named].copy_from_slice(&tag.as_bytes()[..named]);
        config[TAG_LEN] = 1;
        Self { asker, config, mounted: false, metrics: FsMetrics::default() }
    }

    /// What it did so far.
    #[must_use]
    pub fn metrics(&self) -> FsMetrics {
        self.metrics
    }

    /// Whether the guest has mounted the shares.
    #[must_use]
    pub fn is_mounted(&self) -> bool {
        self.mounted
    }

    fn serve(&mut self, chain: &Chain<'_>) -> Result<usize, Malformed> {
        let (readable, writable) = (chain.readable(), chain.writable());
        let mut header = [0; IN_HEADER];
        readable.read_at(0, &mut header)?;
        self.metrics.requests += 1;
        let len = readable.len();
        let room = writable.len();
        let answered = match &mut self.asker {
            Some(asker) if len <= WINDOW_LEN => {
                into_window(asker.as_ref(), &readable, len);
                self.mounted |= header[4..8] == INIT.to_le_bytes();
                self.metrics.bytes_in += len as u64;
                asker.ask(len)
            }
            _ => None,
        };
        match (answered, &self.asker) {
            // Nothing is said to what nobody waits for an answer to.
            (Some(0), _) => Ok(0),
            (Some(answer), Some(asker)) if answer <= room && answer <= WINDOW_LEN => {
                out_of_window(asker.as_ref(), &writable, answer);
                self.metrics.bytes_out += answer as u64;
                Ok(answer)
            }
            _ if room < OUT_HEADER => Ok(0),
            _ => {
                self.metrics.unanswered += 1;
                let mut failed = [0; OUT_HEADER];
                failed[..4].copy_from_slice(&16_u32.to_le_bytes());
                failed[4..8].copy_from_slice(&(-libc::EIO).to_le_bytes());
                failed[8..].copy_from_slice(&header[8..16]);
                writable.write_at(0, &failed)?;
                Ok(OUT_HEADER)
            }
        }
    }
}

/// Copies the first `len` bytes of a request to the window.
fn into_window(asker: &dyn Ask, from: &Buffers<'_, '_>, len: usize) {
    let mut done = 0;
    for piece in from.iovecs(0, len) {
        let (to, room) = asker.window().at(done);
        let count = piece.iov_len.min(room);
        // SAFETY: the piece is guest memory that was checked and stays mapped as long as
        // the chain, the window has room for `count` bytes, and they do not overlap. That
        // guest and server may look on is their own affair.
        unsafe { std::ptr::copy_nonoverlapping(piece.iov_base.cast::<u8>(), to, count) };
        done += count;
    }
}

/// Copies an answer of `len` bytes out of the window.
fn out_of_window(asker: &dyn Ask, to: &Buffers<'_, '_>, len: usize) {
    let mut done = 0;
    for piece in to.iovecs(0, len) {
        let (from, room) = asker.window().at(done);
        let count = piece.iov_len.min(room);
        // SAFETY: as above, the other way round.
        unsafe { std::ptr::copy_nonoverlapping(from, piece.iov_base.cast::<u8>(), count) };
        done += count;
    }
}

impl VirtioDevice for Fs {
    fn id(&self) -> u32 {
        ID
    }

    fn queue_sizes(&self) -> &'static [u16] {
        QUEUE_SIZES
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
