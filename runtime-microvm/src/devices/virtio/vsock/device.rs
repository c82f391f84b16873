//! The queues of vsock.

use std::path::PathBuf;
use std::sync::Arc;

use nix::sys::epoll::{Epoll, EpollFlags};

use super::switchboard::Switchboard;
use super::{GUEST_CID, ID, VsockError, VsockMetrics};
use crate::devices::virtio::{Malformed, Notify, VirtQueue, VirtioDevice};
use crate::kvm::GuestRam;

/// Queue numbers (virtio 1.2, section 5.10.2).
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;

/// Sizes of the queues. Linux fills the receive queue with 4 KiB buffers at
/// boot, two descriptors each (before 6.2), and the event queue with 8.
const QUEUE_SIZES: [u16; 3] = [32, 32, 8];
/// Sent packets are handed back in batches of this many, for one interrupt
/// instead of one each: nobody in the guest waits for them. Half the queue, at
/// two descriptors per packet.
const SENT_BATCH: usize = 8;

/// The device.
#[derive(Debug)]
pub struct Vsock {
    pub(super) switchboard: Switchboard,
    config: [u8; 8],
    /// Packets sent but not handed back yet.
    pub(super) sent: Vec<u16>,
}

impl Vsock {
    /// A device whose host side is at `path`; its sockets are watched by
    /// `epoll`, with tokens from [`super::FIRST_TOKEN`] on.
    ///
    /// # Errors
    ///
    /// [`VsockError`].
    pub fn new(path: PathBuf, epoll: Arc<Epoll>) -> Result<Self, VsockError> {
        Ok(Self {
            switchboard: Switchboard::new(path, epoll)?,
            config: GUEST_CID.to_le_bytes(),
            sent: Vec::with_capacity(SENT_BATCH),
        })
    }

    /// What it did so far.
    #[must_use]
    pub fn metrics(&self) -> VsockMetrics {
        self.switchboard.metrics
    }

    /// Whether nothing is under way on any connection.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.switchboard.is_quiet()
    }

    /// Something happened to one of the sockets.
    ///
    /// # Errors
    ///
    /// [`Malformed`].
    pub fn wake(
        &mut self,
        token: u64,
        events: EpollFlags,
        queues: &mut [VirtQueue],
        ram: &GuestRam,
    ) -> Result<Notify, Malformed> {
        self.switchboard.wake(token, events);
        self.deliver(queues, ram)
    }

    /// Fills receive buffers as long as there are packets and buffers.
    fn deliver(
        &mut self,
        queues: &mut [VirtQueue],
        ram: &GuestRam,
    ) -> Result<Notify, Malformed> {
        let Some(queue) = queues.get_mut(RECEIVE).filter(|queue| queue.is_ready()) else {
            return Ok(Notify::No);
        };
        let mut starved = false;
        while self.switchboard.has_something_to_say() {
            let Some(chain) = queue.pop(ram)? else {
                // Ask for a kick, then look once more: the guest may have added a buffer
                // without one in between.
                if std::mem::replace(&mut starved, true) {
                    return queue.notify(ram);
                }
                queue.want_kicks(ram, true)?;
                continue;
            };
            match self.switchboard.talk(&chain.writable())? {
                Some(written) => queue.push(ram, chain.head(), written)?,
                None => queue.undo_pop(),
            }
        }
        // Nothing waits for a buffer: a guest that adds one need not tell.
        queue.want_kicks(ram, false)?;
        queue.notify(ram)
    }

    /// Takes everything the guest sent.
    fn collect(
        &mut self,
        queues: &mut [VirtQueue],
        ram: &GuestRam,
    ) -> Result<Notify, Malformed> {
        let Some(queue) = queues.get_mut(TRANSMIT) else { return Ok(Notify::No) };
        while let Some(chain) = queue.pop(ram)? {
            self.switchboard.hear_guest(&chain.readable())?;
            self.sent.push(chain.head());
            if self.sent.len() >= SENT_BATCH {
                for head in self.sent.drain(..) {
                    queue.push(ram, head, 0)?;
                }
            }
        }
        queue.notify(ram)
    }
}

impl VirtioDevice for Vsock {
    fn id(&self) -> u32 {
        ID
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &QUEUE_SIZES
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn activate(&mut self, queues: &mut [VirtQueue], ram: &GuestRam) -> Result<(), Malformed> {
        for (index, queue) in queues.iter_mut().enumerate() {
            if index != TRANSMIT && queue.is_ready() {
                queue.want_kicks(ram, false)?;
            }
        }
        Ok(())
    }

    fn kick(
        &mut self,
        queue: usize,
        queues: &mut [VirtQueue],
        ram: &GuestRam,
    ) -> Result<Notify, Malformed> {
        self.switchboard.metrics.kicks += 1;
        let sent = match queue {
            TRANSMIT => self.collect(queues, ram)?,
            RECEIVE => Notify::No,
            _ => return Ok(Notify::No),
        };
        let delivered = self.deliver(queues, ram)?;
        Ok(if sent == Notify::Yes { sent } else { delivered })
    }

    fn reset(&mut self) {
        self.sent.clear();
        self.switchboard.clear();
    }
}
