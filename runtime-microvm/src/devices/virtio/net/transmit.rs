//! From the guest to the tap.

use std::io;

use super::{HEADER_LEN, LONGEST, Net};
use crate::devices::virtio::{Buffers, Malformed, Notify, VirtQueue};
use crate::kvm::GuestRam;

/// What became of a frame.
enum Sent {
    /// It is over with.
    Done,
    /// The host takes it later.
    Later,
}

impl Net {
    /// Sends all frames there are. The guest is told once, of all of them.
    pub(super) fn transmit(
        &mut self,
        queue: &mut VirtQueue,
        ram: &GuestRam,
    ) -> Result<Notify, Malformed> {
        loop {
            while let Some(chain) = queue.pop(ram)? {
                match self.send(&chain.readable()) {
                    Sent::Done => queue.push(ram, chain.head(), 0)?,
                    Sent::Later => {
                        queue.undo_pop();
                        self.blocked = true;
                        return queue.notify(ram);
                    }
                }
            }
            if !queue.await_more(ram)? {
                return queue.notify(ram);
            }
        }
    }

    /// Sends one frame. One that the host does not take is lost, as on any network: the
    /// header before it is the guest's, and the host's kernel checks it.
    fn send(&mut self, frame: &Buffers<'_, '_>) -> Sent {
        let len = frame.len();
        let outcome = match &self.tap {
            Some(tap) if (HEADER_LEN..=LONGEST).contains(&len) => {
                tap.write(&frame.iovecs(0, len))
            }
            _ => Err(io::ErrorKind::InvalidInput.into()),
        };
        match outcome {
            Ok(_) => {
                self.metrics.sent += 1;
                self.metrics.sent_bytes += (len - HEADER_LEN) as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Sent::Later,
            Err(_) => self.metrics.not_sent += 1,
        }
        Sent::Done
    }
}
