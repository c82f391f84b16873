//! The virtio devices of a Linux guest: made, plugged in, asked what they did.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::epoll::Epoll;
use serde::{Deserialize, Serialize};

use super::MachineError;
use crate::boot::layout;
use crate::config::RootDisk;
use crate::devices::bus::{MmioBus, MmioDevice};
use crate::devices::ioapic::{IoApic, PINS};
use crate::devices::virtio::balloon::{Balloon, BalloonMetrics};
use crate::devices::virtio::block::{Block, BlockMetrics};
use crate::devices::virtio::disk::DiskImage;
use crate::devices::virtio::fs::{Fs, FsMetrics};
use crate::devices::virtio::mmio::MmioTransport;
use crate::devices::virtio::net::{Link, Net, NetMetrics, TapError};
use crate::devices::virtio::pmem::{Pmem, PmemMetrics};
use crate::devices::virtio::rng::{Rng, RngMetrics};
use crate::devices::virtio::vsock::{Vsock, VsockMetrics};
use crate::devices::virtio::{Notify, VirtioDevice};
use crate::kvm::{GuestRam, MappedFile};

/// By which the event loop is told of the tap device.
pub const NET_TOKEN: u64 = 6;

/// The virtio devices before they are plugged in.
pub struct Virtio {
    /// The root filesystem; raw guests have none.
    pub root: Option<Root>,
    /// The connections.
    pub vsock: Vsock,
    /// The source of randomness.
    pub rng: Option<Rng>,
    /// The memory given back.
    pub balloon: Option<Balloon>,
    /// The network card.
    pub net: Option<Net>,
    /// The files of the host.
    pub fs: Option<Fs>,
}

/// The root filesystem's disk, as one device or the other.
pub enum Root {
    /// To be read.
    Blk(Block),
    /// Mapped.
    Pmem(Pmem),
}

impl Root {
    pub fn open(disk: &Path, shown: RootDisk, memory_mib: u32) -> Result<Self, MachineError> {
        let image = DiskImage::open(disk)?;
        Ok(match shown {
            RootDisk::Blk => Self::Blk(Block::new(image, "bulkhead-root")),
            RootDisk::Pmem => {
                let start = layout::above_memory(u64::from(memory_mib) << 20);
                Self::Pmem(Pmem::new(MappedFile::new(&image.file, image.len, start)?))
            }
        })
    }
}

/// The virtio devices of a Linux guest, shared between the processor's thread
/// and the event loop.
#[derive(Debug, Clone)]
pub struct Devices {
    pub(super) block: Option<Arc<Mutex<MmioTransport<Block>>>>,
    pub(super) pmem: Option<Arc<Mutex<MmioTransport<Pmem>>>>,
    /// The connections to the host.
    pub vsock: Arc<Mutex<MmioTransport<Vsock>>>,
    pub(super) rng: Option<Arc<Mutex<MmioTransport<Rng>>>>,
    pub(super) balloon: Option<Arc<Mutex<MmioTransport<Balloon>>>>,
    /// The network card.
    pub net: Option<Arc<Mutex<MmioTransport<Net>>>>,
    pub(super) fs: Option<Arc<Mutex<MmioTransport<Fs>>>>,
}

/// What the devices did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceMetrics {
    /// The disk that is read.
    pub block: BlockMetrics,
    /// The disk that is mapped.
    pub pmem: PmemMetrics,
    /// The connections.
    pub vsock: VsockMetrics,
    /// The source of randomness.
    pub rng: RngMetrics,
    /// The memory given back.
    pub balloon: BalloonMetrics,
    /// The network card.
    pub net: NetMetrics,
    /// The files of the host.
    pub fs: FsMetrics,
}

impl Devices {
    /// Number of virtio devices.
    pub(super) fn count(&self) -> u8 {
        let optional =
            [self.rng.is_some(), self.balloon.is_some(), self.net.is_some(), self.fs.is_some()];
        2 + optional.into_iter().map(u8::from).sum::<u8>()
    }

    /// Puts the devices on the bus, in the order the command line names them.
    pub(super) fn attach(
        bus: &mut MmioBus,
        io_apic: &IoApic,
        ram: &Arc<GuestRam>,
        virtio: Virtio,
    ) -> Self {
        let mut plug = Plug { bus, io_apic, ram, next: 0 };
        let (block, pmem) = match virtio.root {
            Some(Root::Blk(block)) => (Some(plug.in_next(block)), None),
            Some(Root::Pmem(pmem)) => (None, Some(plug.in_next(pmem))),
            None => (None, None),
        };
        Self {
            block,
            pmem,
            vsock: plug.in_next(virtio.vsock),
            rng: virtio.rng.map(|rng| plug.in_next(rng)),
            balloon: virtio.balloon.map(|balloon| plug.in_next(balloon)),
            net: virtio.net.map(|net| plug.in_next(net)),
            fs: virtio.fs.map(|fs| plug.in_next(fs)),
        }
    }

    /// Tells the guest whatever it is to learn of its card's network.
    pub(super) fn announce_network(&self) {
        if let Some(net) = &self.net {
            let mut net = net.lock().unwrap_or_else(PoisonError::into_inner);
            net.serve(|_, _, _| Ok(Notify::No));
        }
    }

    /// Connects the card to a network after the fact; without a card nothing happens.
    ///
    /// # Errors
    ///
    /// [`TapError`].
    pub fn plug(&self, link: Link, tap: OwnedFd, epoll: Arc<Epoll>) -> Result<(), TapError> {
        let Some(net) = &self.net else { return Ok(()) };
        let mut outcome = Ok(());
        net.lock().unwrap_or_else(PoisonError::into_inner).serve(|net, _, _| {
            outcome = net.plug(link, tap, epoll, NET_TOKEN);
            Ok(Notify::No)
        });
        outcome
    }

    /// Whether the guest has mounted files of the host.
    #[must_use]
    pub fn have_shares(&self) -> bool {
        let lock = |fs: &Arc<Mutex<MmioTransport<Fs>>>| {
            fs.lock().unwrap_or_else(PoisonError::into_inner).device().is_mounted()
        };
        self.fs.as_ref().is_some_and(lock)
    }

    /// Whether nothing is under way between the guest and the host.
    #[must_use]
    pub fn are_quiet(&self) -> bool {
        self.vsock.lock().unwrap_or_else(PoisonError::into_inner).device().is_quiet()
    }

    /// What the devices did so far.
    #[must_use]
    pub fn metrics(&self) -> DeviceMetrics {
        type Plugged<D> = Arc<Mutex<MmioTransport<D>>>;
        fn of<D: VirtioDevice, M>(plugged: &Plugged<D>, metrics: impl Fn(&D) -> M) -> M {
            metrics(plugged.lock().unwrap_or_else(PoisonError::into_inner).device())
        }
        fn of_any<D: VirtioDevice, M: Default>(
            plugged: Option<&Plugged<D>>,
            metrics: impl Fn(&D) -> M,
        ) -> M {
            plugged.map(|plugged| of(plugged, metrics)).unwrap_or_default()
        }
        DeviceMetrics {
            block: of_any(self.block.as_ref(), Block::metrics),
            pmem: of_any(self.pmem.as_ref(), Pmem::metrics),
            vsock: of(&self.vsock, Vsock::metrics),
            rng: of_any(self.rng.as_ref(), Rng::metrics),
            balloon: of_any(self.balloon.as_ref(), Balloon::metrics),
            net: of_any(self.net.as_ref(), Net::metrics),
            fs: of_any(self.fs.as_ref(), Fs::metrics),
        }
    }
}

/// Puts devices into one slot of the bus after the other.
struct Plug<'a> {
    bus: &'a mut MmioBus,
    io_apic: &'a IoApic,
    ram: &'a Arc<GuestRam>,
    next: u8,
}

impl Plug<'_> {
    fn in_next<D: VirtioDevice + 'static>(
        &mut self,
        device: D,
    ) -> Arc<Mutex<MmioTransport<D>>> {
        let pin = layout::virtio_irq(self.next);
        debug_assert!(pin < PINS, "every device has a pin");
        let line = self.io_apic.line(pin);
        let transport = MmioTransport::new(device, self.ram.clone(), line);
        let shared = Arc::new(Mutex::new(transport));
        let on_bus: Arc<Mutex<dyn MmioDevice>> = shared.clone();
        self.bus.insert(layout::virtio_mmio(self.next), on_bus);
        self.next += 1;
        shared
    }
}
