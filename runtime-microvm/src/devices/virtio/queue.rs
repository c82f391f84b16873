//! One virtqueue, on `virtio-queue`'s ring arithmetic, with every error of the
//! driver surfaced.

mod persist;

use std::sync::atomic::Ordering;

use virtio_bindings::virtio_ring::{VRING_AVAIL_F_NO_INTERRUPT, VRING_USED_F_NO_NOTIFY};
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemory, Permissions};

use super::{Chain, Malformed, Notify};
use crate::kvm::GuestRam;

pub use persist::QueueState;

/// A virtqueue as the driver configured it.
#[derive(Debug)]
pub struct VirtQueue {
    queue: Queue,
    /// How many chains were used since the driver was last told.
    unannounced: u16,
}

impl VirtQueue {
    /// A queue of at most `max_size` descriptors, which must be a power of two.
    ///
    /// # Panics
    ///
    /// When it is not: the sizes are constants of our devices.
    #[must_use]
    pub fn new(max_size: u16) -> Self {
        #[expect(clippy::expect_used, reason = "documented; a constant of the device")]
        let queue = Queue::new(max_size).expect("queue sizes are powers of two");
        Self { queue, unannounced: 0 }
    }

    /// The addresses and the size the driver chose, for the transport to set.
    pub fn settings(&mut self) -> &mut Queue {
        &mut self.queue
    }

    /// Whether the rings lie in guest memory.
    #[must_use]
    pub(super) fn is_sound(&self, ram: &GuestRam) -> bool {
        // As `QueueT::is_valid`, which logs instead of reporting; sizes are those of
        // virtio 1.2, section 2.7.
        let size = usize::from(self.queue.size());
        let within = |address: u64, len: usize, access| {
            ram.check_range(GuestAddress(address), len, access)
        };
        within(self.queue.desc_table(), 16 * size, Permissions::Read)
            && within(self.queue.avail_ring(), 6 + 2 * size, Permissions::Read)
            && within(self.queue.used_ring(), 6 + 8 * size, Permissions::Write)
    }

    /// Most chains it holds.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.queue.size()
    }

    /// Whether the driver has made the queue usable.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.queue.ready()
    }

    /// The next chain the driver has made available.
    ///
    /// # Errors
    ///
    /// [`Malformed`].
    pub fn pop<'m>(&mut self, ram: &'m GuestRam) -> Result<Option<Chain<'m>>, Malformed> {
        if !self.queue.ready() {
            return Ok(None);
        }
        let mut available = self.queue.iter(ram).map_err(|_| Malformed::AvailableRing)?;
        match available.next() {
            Some(chain) => Chain::walk(chain, ram).map(Some),
            None => Ok(None),
        }
    }

    /// Takes back the last [`Self::pop`].
    pub fn undo_pop(&mut self) {
        self.queue.go_to_previous_position();
    }

    /// Hands a chain back to the driver, `written` bytes of it written.
    ///
    /// # Errors
    ///
    /// [`Malformed::UsedRing`].
    pub fn push(&mut self, ram: &GuestRam, head: u16, written: usize) -> Result<(), Malformed> {
        let written = u32::try_from(written).unwrap_or(u32::MAX);
        self.unannounced = self.unannounced.saturating_add(1);
        self.queue.add_used(ram, head, written).map_err(|_| Malformed::UsedRing)
    }

    /// Hands chains back that make up one answer: the driver sees all of them or none.
    ///
    /// # Errors
    ///
    /// [`Malformed::UsedRing`].
    pub fn push_all(&mut self, ram: &GuestRam, used: &[(u16, usize)]) -> Result<(), Malformed> {
        let ring = self.queue.used_ring();
        let mut next = self.queue.next_used();
        for (head, written) in used {
            let slot = next.checked_rem(self.queue.size()).ok_or(Malformed::UsedRing)?;
            let at = ring.checked_add(4 + 8 * u64::from(slot)).ok_or(Malformed::UsedRing)?;
            let written = u32::try_from(*written).unwrap_or(u32::MAX);
            // Index of the chain and length, both u32 (virtio 1.2, section 2.7.8).
            let element = (u64::from(written) << 32 | u64::from(*head)).to_le();
            ram.write_obj(element, GuestAddress(at)).map_err(|_| Malformed::UsedRing)?;
            next = next.wrapping_add(1);
            self.unannounced = self.unannounced.saturating_add(1);
        }
        self.queue.set_next_used(next);
        let index = ring.checked_add(2).ok_or(Malformed::UsedRing)?;
        ram.store(u16::to_le(next), GuestAddress(index), Ordering::Release)
            .map_err(|_| Malformed::UsedRing)
    }

    /// Has `answer` deal with every chain the driver has made available and say how
    /// many bytes it wrote; returns whether the driver is to be told.
    ///
    /// # Errors
    ///
    /// Those of `answer`, and of [`Self::pop`], [`Self::push`] and [`Self::notify`].
    pub fn serve(
        &mut self,
        ram: &GuestRam,
        mut answer: impl FnMut(&Chain<'_>) -> Result<usize, Malformed>,
    ) -> Result<Notify, Malformed> {
        while let Some(chain) = self.pop(ram)? {
            let written = answer(&chain)?;
            self.push(ram, chain.head(), written)?;
        }
        self.notify(ram)
    }

    /// Whether the driver is to be told of what was pushed since the last call.
    ///
    /// # Errors
    ///
    /// [`Malformed::AvailableRing`] when the driver's wish cannot be read.
    pub fn notify(&mut self, ram: &GuestRam) -> Result<Notify, Malformed> {
        let count = std::mem::take(&mut self.unannounced);
        if count == 0 {
            return Ok(Notify::No);
        }
        // The used index must be visible before the driver's wish is read: the
        // driver writes its wish and then looks at the used index.
        std::sync::atomic::fence(Ordering::SeqCst);
        // The wish is in the flags, or else behind the ring: the index that is not to
        // be passed silently (virtio 1.2, section 2.7.7).
        let offset = match self.queue.event_idx_enabled() {
            false => 0,
            true => 4 + 2 * u64::from(self.queue.size()),
        };
        let at = self.queue.avail_ring().checked_add(offset).ok_or(Malformed::AvailableRing)?;
        let wish: u16 = ram
            .load(GuestAddress(at), Ordering::Relaxed)
            .map_err(|_| Malformed::AvailableRing)?;
        let wish = u16::from_le(wish);
        let wanted = if self.queue.event_idx_enabled() {
            let passed = self.queue.next_used().wrapping_sub(wish).wrapping_sub(1);
            passed < count
        } else {
            u32::from(wish) & VRING_AVAIL_F_NO_INTERRUPT == 0
        };
        Ok(if wanted { Notify::Yes } else { Notify::No })
    }

    /// Has kicks and interrupts depend on indices instead of flags
    /// (`VIRTIO_F_EVENT_IDX`), or not.
    pub(super) fn set_event_idx(&mut self, enabled: bool) {
        self.queue.set_event_idx(enabled);
    }

    /// Asks for a kick when the driver makes the next chain available, and looks once
    /// more: true when there is one already.
    ///
    /// # Errors
    ///
    /// [`Malformed::UsedRing`].
    pub fn await_more(&mut self, ram: &GuestRam) -> Result<bool, Malformed> {
        if !self.queue.ready() {
            return Ok(false);
        }
        self.queue.enable_notification(ram).map_err(|_| Malformed::UsedRing)
    }

    /// Asks the driver for kicks, or not to bother.
    ///
    /// # Errors
    ///
    /// [`Malformed::UsedRing`].
    pub fn want_kicks(&mut self, ram: &GuestRam, wanted: bool) -> Result<(), Malformed> {
        if self.queue.event_idx_enabled() {
            // The driver stays silent until it passes the index it was last given.
            return if wanted { self.await_more(ram).map(drop) } else { Ok(()) };
        }
        let no_notify = u16::try_from(VRING_USED_F_NO_NOTIFY).unwrap_or_default();
        let flags = if wanted { 0 } else { no_notify };
        ram.store(u16::to_le(flags), GuestAddress(self.queue.used_ring()), Ordering::SeqCst)
            .map_err(|_| Malformed::UsedRing)
    }
}
