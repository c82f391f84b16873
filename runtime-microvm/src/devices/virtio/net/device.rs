//! The card: its configuration space, and who serves which queue.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use bulkhead_runtime::Interface;
use nix::sys::epoll::{Epoll, EpollFlags};
use serde::{Deserialize, Serialize};

use super::{ID, NetMetrics, RECEIVE, TRANSMIT, Tap, TapError, feature};
use crate::devices::virtio::{EVENT_IDX, Malformed, Notify, VirtQueue, VirtioDevice};
use crate::kvm::GuestRam;

/// Sizes of the queues. Linux fills the receive queue with buffers of 1.5 KiB and does
/// not fill it up before half of them are used: half must hold the longest frame.
const QUEUE_SIZES: [u16; 2] = [128, 128];
/// Configuration (virtio 1.2, section 5.1.4): mac, status u16, max_virtqueue_pairs
/// u16, mtu u16.
const CONFIG_LEN: usize = 12;
const STATUS: usize = 6;
const MTU: usize = 10;
/// `VIRTIO_NET_S_LINK_UP`.
const LINK_UP: u8 = 1;
/// What the card of a machine without a network is called: locally administered, and
/// never seen by anybody.
const NO_LINK: Link = Link { mac: [2, 0, 0, 0, 0, 1], mtu: u16::MAX };

/// Every feature we offer.
const FEATURES: u64 = EVENT_IDX
    | feature::CSUM
    | feature::GUEST_CSUM
    | feature::MTU
    | feature::MAC
    | feature::GUEST_TSO4
    | feature::GUEST_TSO6
    | feature::HOST_TSO4
    | feature::HOST_TSO6
    | feature::MRG_RXBUF
    | feature::STATUS;

/// What the guest is told of the network behind its card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The card's hardware address in it.
    pub mac: [u8; 6],
    /// Its largest packet, bytes.
    pub mtu: u16,
}

impl From<&Interface<'_>> for Link {
    fn from(interface: &Interface<'_>) -> Self {
        Self { mac: interface.mac, mtu: interface.mtu }
    }
}

/// The device.
#[derive(Debug)]
pub struct Net {
    config: [u8; CONFIG_LEN],
    config_changed: bool,
    pub(super) tap: Option<Tap>,
    /// What driver and device have agreed on.
    pub(super) features: u64,
    /// A frame that waits for buffers.
    pub(super) held: Vec<u8>,
    /// No frame is read before the guest has added buffers.
    pub(super) starved: bool,
    /// The host takes no frame at present.
    pub(super) blocked: bool,
    pub(super) metrics: NetMetrics,
}

impl Net {
    /// A card without a network.
    #[must_use]
    pub fn new() -> Self {
        let mut net = Self {
            config: [0; CONFIG_LEN],
            config_changed: false,
            tap: None,
            features: 0,
            held: Vec::new(),
            starved: false,
            blocked: false,
            metrics: NetMetrics::default(),
        };
        net.set_link(NO_LINK);
        net
    }

    /// Connects the card to the tap behind `fd`, of which `epoll` tells by `token`.
    ///
    /// # Errors
    ///
    /// [`TapError`].
    pub fn plug(
        &mut self,
        link: Link,
        fd: OwnedFd,
        epoll: Arc<Epoll>,
        token: u64,
    ) -> Result<(), TapError> {
        self.connect(link, Tap::new(fd, epoll, token)?);
        Ok(())
    }

    pub(super) fn connect(&mut self, link: Link, tap: Tap) {
        tap.offload(self.features);
        self.tap = Some(tap);
        self.set_link(link);
        self.set_up(true);
    }

    /// What it did so far.
    #[must_use]
    pub fn metrics(&self) -> NetMetrics {
        self.metrics
    }

    /// Something happened to the tap.
    ///
    /// # Errors
    ///
    /// [`Malformed`].
    pub fn wake(
        &mut self,
        events: EpollFlags,
        queues: &mut [VirtQueue],
        ram: &GuestRam,
    ) -> Result<Notify, Malformed> {
        if events.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP) {
            // Somebody has removed it.
            self.tap = None;
            self.set_up(false);
            return Ok(Notify::No);
        }
        let [receive, transmit] = queues else { return Ok(Notify::No) };
        let mut sent = Notify::No;
        if events.contains(EpollFlags::EPOLLOUT) {
            self.blocked = false;
            sent = self.transmit(transmit, ram)?;
        }
        let received = self.receive(receive, ram)?;
        self.watch();
        Ok(either(sent, received))
    }

    /// Waits for what there is to do.
    fn watch(&mut self) {
        let mut interest = EpollFlags::empty();
        interest.set(EpollFlags::EPOLLIN, !self.starved);
        interest.set(EpollFlags::EPOLLOUT, self.blocked);
        if let Some(tap) = &mut self.tap {
            tap.wait_for(interest);
        }
    }

    /// The network behind the card.
    #[must_use]
    pub fn link(&self) -> Link {
        let [a, b, c, d, e, f, .., low, high] = self.config;
        Link { mac: [a, b, c, d, e, f], mtu: u16::from_le_bytes([low, high]) }
    }

    pub(super) fn set_link(&mut self, link: Link) {
        self.config[..STATUS].copy_from_slice(&link.mac);
        self.config[MTU..].copy_from_slice(&link.mtu.to_le_bytes());
    }

    pub(super) fn is_up(&self) -> bool {
        self.config[STATUS] == LINK_UP
    }

    /// The driver learns of it, unless it is what it knows.
    fn set_up(&mut self, up: bool) {
        self.knew(self.is_up() != up);
        self.config[STATUS] = if up { LINK_UP } else { 0 };
    }

    /// The driver is to be told of another state than it knew.
    pub(super) fn knew(&mut self, another: bool) {
        self.config_changed |= another;
    }
}

impl Default for Net {
    fn default() -> Self {
        Self::new()
    }
}

fn either(one: Notify, other: Notify) -> Notify {
    if one == Notify::Yes { one } else { other }
}

impl VirtioDevice for Net {
    fn id(&self) -> u32 {
        ID
    }

    fn features(&self) -> u64 {
        FEATURES
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &QUEUE_SIZES
    }

    fn config(&self) -> &[u8] {
        &self.config
    }

    fn agreed(&mut self, features: u64) {
        self.features = features;
        if let Some(tap) = &self.tap {
            tap.offload(features);
        }
    }

    fn take_config_change(&mut self) -> bool {
        std::mem::take(&mut self.config_changed)
    }

    fn activate(
        &mut self,
        _queues: &mut [VirtQueue],
        _ram: &GuestRam,
    ) -> Result<(), Malformed> {
        // It has read the configuration by now, or will.
        self.config_changed = false;
        self.starved = false;
        self.watch();
        Ok(())
    }

    fn kick(
        &mut self,
        queue: usize,
        queues: &mut [VirtQueue],
        ram: &GuestRam,
    ) -> Result<Notify, Malformed> {
        self.metrics.kicks += 1;
        let [receive, transmit] = queues else { return Ok(Notify::No) };
        let outcome = match queue {
            RECEIVE => self.receive(receive, ram)?,
            TRANSMIT if !self.blocked => self.transmit(transmit, ram)?,
            _ => return Ok(Notify::No),
        };
        self.watch();
        Ok(outcome)
    }

    fn reset(&mut self) {
        self.held.clear();
        self.starved = false;
        self.blocked = false;
        self.watch();
    }
}
