//! A checked descriptor chain: every buffer is known to lie in guest memory
//! before the device sees any of them.

use virtio_queue::DescriptorChain;
use vm_memory::{GuestMemory, Permissions, VolatileSlice};

use super::Malformed;
use crate::kvm::GuestRam;

/// Most pieces of guest memory one chain may have: `IOV_MAX` (limits.h), so
/// that any chain is one vectored system call.
const MAX_PIECES: usize = 1024;

/// The buffers of one request.
#[derive(Debug)]
pub struct Chain<'m> {
    head: u16,
    pieces: Vec<VolatileSlice<'m>>,
    writable_from: usize,
}

impl<'m> Chain<'m> {
    /// Walks and checks a chain.
    pub(super) fn walk(
        mut chain: DescriptorChain<&'m GuestRam>,
        ram: &'m GuestRam,
    ) -> Result<Self, Malformed> {
        let mut walked =
            Self { head: chain.head_index(), pieces: Vec::new(), writable_from: 0 };
        let mut seen_writable = false;
        loop {
            // The walk ends early when an index is out of range, when the chain has
            // more descriptors than the table (a loop), or exceeds 4 GiB.
            let descriptor = chain.next().ok_or(Malformed::Chain)?;
            if descriptor.is_write_only() {
                seen_writable = true;
            } else if seen_writable {
                return Err(Malformed::Order);
            }
            walked.add(ram, &descriptor)?;
            if !seen_writable {
                walked.writable_from = walked.pieces.len();
            }
            if !descriptor.has_next() {
                return Ok(walked);
            }
        }
    }

    fn add(
        &mut self,
        ram: &'m GuestRam,
        descriptor: &virtio_queue::desc::split::Descriptor,
    ) -> Result<(), Malformed> {
        let len = usize::try_from(descriptor.len()).map_err(|_| Malformed::OutOfRange)?;
        if len == 0 {
            return Ok(());
        }
        let access =
            if descriptor.is_write_only() { Permissions::Write } else { Permissions::Read };
        let pieces = ram
            .get_slices(descriptor.addr(), len, access)
            .map_err(|_| Malformed::OutOfRange)?;
        for piece in pieces {
            if self.pieces.len() == MAX_PIECES {
                return Err(Malformed::Chain);
            }
            self.pieces.push(piece.map_err(|_| Malformed::OutOfRange)?);
        }
        Ok(())
    }

    /// Index of the first descriptor, which names the chain.
    #[must_use]
    pub fn head(&self) -> u16 {
        self.head
    }

    /// What the device may read.
    #[must_use]
    pub fn readable(&self) -> Buffers<'_, 'm> {
        Buffers { pieces: &self.pieces[..self.writable_from] }
    }

    /// What the device may write.
    #[must_use]
    pub fn writable(&self) -> Buffers<'_, 'm> {
        Buffers { pieces: &self.pieces[self.writable_from..] }
    }
}

/// Some buffers of a chain as one run of bytes.
///
/// The guest can change them at any time: read what is decided upon once.
#[derive(Debug, Clone, Copy)]
pub struct Buffers<'c, 'm> {
    pieces: &'c [VolatileSlice<'m>],
}

impl Buffers<'_, '_> {
    /// Number of bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> usize {
        self.pieces.iter().map(VolatileSlice::len).sum()
    }

    /// Copies the bytes at `offset` to `out`.
    ///
    /// # Errors
    ///
    /// [`Malformed::TooShort`] when there are not as many.
    pub fn read_at(&self, offset: usize, out: &mut [u8]) -> Result<(), Malformed> {
        let mut done = 0;
        for piece in self.window(offset, out.len()) {
            done += piece.copy_to(&mut out[done..]);
        }
        if done == out.len() { Ok(()) } else { Err(Malformed::TooShort) }
    }

    /// Copies `bytes` to `offset`.
    ///
    /// # Errors
    ///
    /// [`Malformed::TooShort`] when they do not fit; nothing is promised about
    /// what was written then.
    pub fn write_at(&self, offset: usize, bytes: &[u8]) -> Result<(), Malformed> {
        let mut done = 0;
        for piece in self.window(offset, bytes.len()) {
            let end = (done + piece.len()).min(bytes.len());
            piece.copy_from(&bytes[done..end]);
            done = end;
        }
        if done == bytes.len() { Ok(()) } else { Err(Malformed::TooShort) }
    }

    /// At most `len` bytes from `offset` on, for a vectored system call that
    /// is made while the chain is alive.
    #[must_use]
    pub fn iovecs(&self, offset: usize, len: usize) -> Vec<libc::iovec> {
        self.window(offset, len)
            .map(|piece| libc::iovec {
                iov_base: piece.ptr_guard_mut().as_ptr().cast(),
                iov_len: piece.len(),
            })
            .collect()
    }

    /// The pieces that make up the bytes `offset..offset + len`, cut to size.
    fn window(&self, offset: usize, len: usize) -> impl Iterator<Item = VolatileSlice<'_>> {
        let mut skip = offset;
        let mut left = len;
        self.pieces.iter().filter_map(move |piece| {
            let start = skip.min(piece.len());
            skip -= start;
            let take = left.min(piece.len() - start);
            left -= take;
            if take == 0 { None } else { piece.subslice(start, take).ok() }
        })
    }
}
