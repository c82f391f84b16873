//! From the tap to the guest.
//!
//! A frame is read into the guest's own buffers when those that are there hold any
//! frame. Otherwise it is read into one of ours, to learn how long it is, and waits for
//! enough of the guest's. Frames behind it wait in the tap, and nothing is polled: the
//! guest kicks when it has added buffers.

use super::{ETHERNET_LEN, HEADER_LEN, LONGEST, NUM_BUFFERS, Net, Tap, feature};
use crate::devices::virtio::{Chain, Malformed, Notify, VirtQueue};
use crate::kvm::GuestRam;

/// Frames in one go: what else the event loop has to do must not wait for longer.
const BURST: usize = 64;
/// Room behind the guest's buffers, to see that a frame is longer than any should be.
const SPARE: usize = 64;

/// What became of an attempt to read a frame.
enum Read {
    /// So many bytes are where they were to be.
    Frame(usize),
    /// There is none.
    Nothing,
}

impl Net {
    /// Hands over as many frames as there are, and buffers for them. The guest is told
    /// once, of all of them.
    pub(super) fn receive(
        &mut self,
        queue: &mut VirtQueue,
        ram: &GuestRam,
    ) -> Result<Notify, Malformed> {
        self.starved = false;
        if !queue.is_ready() {
            // The driver's next sign of life is that it gets ready.
            self.starved = true;
            return Ok(Notify::No);
        }
        let mut buffers = Taken::new(self.features & feature::MRG_RXBUF != 0);
        let longest = self.longest();
        for _ in 0..BURST {
            buffers.take_for(longest, queue, ram)?;
            let len = match self.next_frame(&buffers, longest) {
                Some(Read::Frame(len)) => len,
                Some(Read::Nothing) => break,
                None => {
                    self.starve();
                    break;
                }
            };
            if len <= buffers.capacity {
                self.deliver(len, &mut buffers, queue, ram)?;
            } else if self.held.is_empty() || buffers.are_all(queue) {
                self.held.clear();
                self.metrics.not_received += 1;
            } else {
                self.starve();
                break;
            }
        }
        buffers.give_back(queue);
        queue.notify(ram)
    }

    fn starve(&mut self) {
        self.starved = true;
        self.metrics.starved += 1;
    }

    /// The longest frame the host may have for this guest, with its header.
    fn longest(&self) -> usize {
        match self.features & (feature::GUEST_TSO4 | feature::GUEST_TSO6) {
            0 => HEADER_LEN + ETHERNET_LEN + usize::from(self.link().mtu),
            _ => LONGEST,
        }
    }

    /// The next frame: in the guest's buffers, or held. `None` when there are no
    /// buffers at all.
    fn next_frame(&mut self, buffers: &Taken<'_>, longest: usize) -> Option<Read> {
        if !self.held.is_empty() {
            return Some(Read::Frame(self.held.len()));
        }
        if buffers.capacity == 0 {
            return None;
        }
        let Some(tap) = &self.tap else { return Some(Read::Nothing) };
        if buffers.capacity >= longest {
            return Some(read(tap, buffers.iovecs()));
        }
        self.held.resize(LONGEST, 0);
        let whole = libc::iovec { iov_base: self.held.as_mut_ptr().cast(), iov_len: LONGEST };
        let outcome = read(tap, vec![whole]);
        self.held.truncate(if let Read::Frame(len) = outcome { len } else { 0 });
        Some(outcome)
    }

    /// Hands the frame of `len` bytes, which fits, over to the guest.
    fn deliver(
        &mut self,
        len: usize,
        buffers: &mut Taken<'_>,
        queue: &mut VirtQueue,
        ram: &GuestRam,
    ) -> Result<(), Malformed> {
        let used = buffers.spread(len);
        if !self.held.is_empty() {
            let mut rest = &self.held[..];
            for (chain, (_, len)) in buffers.chains.iter().zip(&used) {
                let (now, later) = rest.split_at(*len);
                chain.writable().write_at(0, now)?;
                rest = later;
            }
            self.held.clear();
            self.metrics.copied += 1;
        }
        // The tap leaves this field alone.
        let count = u16::try_from(used.len()).unwrap_or(u16::MAX).to_le_bytes();
        let first = buffers.chains.first().ok_or(Malformed::TooShort)?;
        first.writable().write_at(NUM_BUFFERS, &count)?;
        queue.push_all(ram, &used)?;
        buffers.used(used.len());
        self.metrics.received += 1;
        self.metrics.received_bytes += len.saturating_sub(HEADER_LEN) as u64;
        Ok(())
    }
}

/// Reads one frame.
fn read(tap: &Tap, mut into: Vec<libc::iovec>) -> Read {
    let mut spare = [0_u8; SPARE];
    into.push(libc::iovec { iov_base: spare.as_mut_ptr().cast(), iov_len: SPARE });
    match tap.read(&into) {
        // No frame is shorter than its header.
        Ok(len) if len >= HEADER_LEN => Read::Frame(len),
        // Of a tap that is not there any more an event tells.
        Ok(_) | Err(_) => Read::Nothing,
    }
}

/// Buffers taken from the queue and not used yet.
struct Taken<'m> {
    chains: Vec<Chain<'m>>,
    capacity: usize,
    /// A frame may span several.
    merged: bool,
}

impl<'m> Taken<'m> {
    fn new(merged: bool) -> Self {
        Self { chains: Vec::new(), capacity: 0, merged }
    }

    /// Takes buffers until they hold `len` bytes, as far as there are any. When there
    /// are not, the guest is to kick once it has added some.
    fn take_for(
        &mut self,
        len: usize,
        queue: &mut VirtQueue,
        ram: &'m GuestRam,
    ) -> Result<(), Malformed> {
        while self.capacity < len && (self.merged || self.chains.is_empty()) {
            match queue.pop(ram)? {
                Some(chain) => {
                    self.capacity += chain.writable().len();
                    self.chains.push(chain);
                }
                None if queue.await_more(ram)? => {}
                None => break,
            }
        }
        Ok(())
    }

    /// Whether the guest cannot add any more.
    fn are_all(&self, queue: &mut VirtQueue) -> bool {
        !self.merged || self.chains.len() >= usize::from(queue.size())
    }

    fn iovecs(&self) -> Vec<libc::iovec> {
        let of = |chain: &Chain<'_>| chain.writable().iovecs(0, usize::MAX);
        self.chains.iter().flat_map(of).collect()
    }

    /// Which of them `len` bytes use, and how much of each.
    fn spread(&self, len: usize) -> Vec<(u16, usize)> {
        let mut rest = len;
        let mut used = Vec::new();
        for chain in &self.chains {
            let here = rest.min(chain.writable().len());
            used.push((chain.head(), here));
            rest -= here;
            if rest == 0 {
                break;
            }
        }
        used
    }

    /// The first `count` are used.
    fn used(&mut self, count: usize) {
        for chain in self.chains.drain(..count) {
            self.capacity -= chain.writable().len();
        }
    }

    /// Puts those that were not used back.
    fn give_back(self, queue: &mut VirtQueue) {
        for _ in self.chains {
            queue.undo_pop();
        }
    }
}
