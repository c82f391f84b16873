//! One thread that waits for the monitor, the guest's kicks and the host's sockets.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use virtio_queue::QueueT;
use vm_memory::{FileOffset, GuestAddress};

use super::message::{Message, request};
use super::{BackendError, failed};
use crate::devices::virtio::vsock::{FIRST_TOKEN, Vsock};
use crate::devices::virtio::{Malformed, Notify, VERSION_1, VirtQueue, VirtioDevice};
use crate::kvm::GuestRam;

/// `VHOST_USER_F_PROTOCOL_FEATURES`: the protocol's own features are agreed on.
const PROTOCOL_FEATURES: u64 = 1 << 30;
/// `VHOST_USER_PROTOCOL_F_CONFIG`: the monitor asks for the configuration space.
const PROTOCOL_CONFIG: u64 = 1 << 9;

/// The queues a back end serves; the monitor keeps the third, for events.
const QUEUES: usize = 2;
/// Largest queue (`VIRTQUEUE_MAX_SIZE` of QEMU, which its virtio-mmio offers).
const MAX_SIZE: u16 = 1024;
/// Set in the payload of a message about a descriptor that has none.
const NO_FD: u64 = 1 << 8;
/// Bytes before the content of a configuration message: offset, size, flags.
const CONFIG_HEADER: usize = 12;

const MONITOR: u64 = 0;
const FIRST_KICK: u64 = 1;
const EVENTS: usize = 16;

/// A region of guest memory as the monitor sees it.
#[derive(Debug)]
struct Region {
    guest: u64,
    size: u64,
    monitor: u64,
}

/// What a queue has beside itself.
#[derive(Debug, Default)]
struct Doorbell {
    kick: Option<File>,
    call: Option<File>,
}

/// The device and what the monitor has told of its machine.
#[derive(Debug)]
pub struct Backend {
    monitor: UnixStream,
    epoll: Arc<Epoll>,
    vsock: Vsock,
    queues: Vec<VirtQueue>,
    doorbells: [Doorbell; QUEUES],
    regions: Vec<Region>,
    ram: Option<GuestRam>,
}

impl Backend {
    pub fn new(monitor: UnixStream, path: PathBuf) -> Result<Self, BackendError> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(failed("make an epoll descriptor"))?;
        let epoll = Arc::new(epoll);
        epoll
            .add(&monitor, EpollEvent::new(EpollFlags::EPOLLIN, MONITOR))
            .map_err(failed("watch the monitor"))?;
        let vsock = Vsock::new(path, epoll.clone())?;
        let queues = (0..QUEUES).map(|_| VirtQueue::new(MAX_SIZE)).collect();
        let doorbells = <[Doorbell; QUEUES]>::default();
        Ok(Self { monitor, epoll, vsock, queues, doorbells, regions: vec![], ram: None })
    }

    /// Works until the monitor is gone.
    pub fn run(&mut self) -> Result<(), BackendError> {
        let mut events = [EpollEvent::empty(); EVENTS];
        loop {
            let ready = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => continue,
                other => other.map_err(failed("wait for events"))?,
            };
            for event in &events[..ready] {
                match event.data() {
                    MONITOR => {
                        let message = Message::read(&mut self.monitor);
                        match message.map_err(failed("read a message"))? {
                            Some(message) => self.obey(message)?,
                            None => return Ok(()),
                        }
                    }
                    token if token >= FIRST_TOKEN => self.serve(|vsock, queues, ram| {
                        vsock.wake(token, event.events(), queues, ram)
                    })?,
                    token => self.kicked(usize::try_from(token - FIRST_KICK).unwrap_or(0))?,
                }
            }
        }
    }

    /// Lets the device work on its queues and tells the guest if need be.
    fn serve(
        &mut self,
        work: impl FnOnce(&mut Vsock, &mut [VirtQueue], &GuestRam) -> Result<Notify, Malformed>,
    ) -> Result<(), BackendError> {
        let Some(ram) = &self.ram else { return Ok(()) };
        if work(&mut self.vsock, &mut self.queues, ram)? == Notify::Yes {
            // The device does not say for which queue; the guest looks at both anyway.
            for call in self.doorbells.iter_mut().filter_map(|bell| bell.call.as_mut()) {
                call.write_all(&1_u64.to_ne_bytes()).map_err(failed("interrupt the guest"))?;
            }
        }
        Ok(())
    }

    fn kicked(&mut self, index: usize) -> Result<(), BackendError> {
        let kick = self.doorbells.get_mut(index).and_then(|bell| bell.kick.as_mut());
        if let Some(kick) = kick {
            let mut count = [0; 8];
            match kick.read(&mut count) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                other => drop(other.map_err(failed("take a kick"))?),
            }
        }
        self.serve(|vsock, queues, ram| vsock.kick(index, queues, ram))
    }

    fn obey(&mut self, mut message: Message) -> Result<(), BackendError> {
        let mut answer: Option<Vec<u8>> = None;
        let number = |value: u64| Some(value.to_ne_bytes().to_vec());
        match message.request {
            request::GET_FEATURES => answer = number(VERSION_1 | PROTOCOL_FEATURES),
            request::GET_PROTOCOL_FEATURES => answer = number(PROTOCOL_CONFIG),
            request::GET_QUEUE_NUM => answer = number(QUEUES as u64),
            request::SET_FEATURES
            | request::SET_PROTOCOL_FEATURES
            | request::SET_OWNER
            | request::SET_VRING_ERR => {}
            request::GET_CONFIG => answer = Some(self.config(&message)),
            request::SET_MEM_TABLE => self.map(&mut message)?,
            request::SET_VRING_NUM => {
                let size = u16::try_from(message.word(4)).unwrap_or(0);
                self.queue(&message)?.settings().set_size(size);
            }
            request::SET_VRING_ADDR => self.place(&message)?,
            request::SET_VRING_BASE => {
                let next = u16::try_from(message.word(4)).unwrap_or(0);
                let settings = self.queue(&message)?.settings();
                settings.set_next_avail(next);
                settings.set_next_used(next);
            }
            request::GET_VRING_BASE => {
                let settings = self.queue(&message)?.settings();
                settings.set_ready(false);
                let state = [message.word(0), u32::from(settings.next_avail())];
                answer = Some(state.into_iter().flat_map(u32::to_ne_bytes).collect());
            }
            request::SET_VRING_KICK => self.take_kick(&mut message)?,
            request::SET_VRING_CALL => {
                let call = message.files.pop();
                self.doorbell(&message)?.call = call;
            }
            request::SET_VRING_ENABLE => {
                let enable = message.word(4) != 0;
                self.queue(&message)?.settings().set_ready(enable);
            }
            _ => return Err(BackendError::Protocol("a request of another kind of device")),
        }
        if answer.is_none() && message.needs_reply {
            answer = number(0);
        }
        if let Some(payload) = answer {
            message.reply(&mut self.monitor, &payload).map_err(failed("answer"))?;
        }
        Ok(())
    }

    /// The configuration space, as far as it was asked for.
    fn config(&self, message: &Message) -> Vec<u8> {
        let (offset, size) = (message.word(0) as usize, message.word(4) as usize);
        let header = [message.word(0), message.word(4), message.word(8)];
        let mut answer: Vec<u8> = header.into_iter().flat_map(u32::to_ne_bytes).collect();
        let config = self.vsock.config().iter().skip(offset).take(size);
        answer.extend(config);
        answer.resize(CONFIG_HEADER + size.min(256), 0);
        answer
    }

    /// Maps guest memory, which the monitor shares with us.
    fn map(&mut self, message: &mut Message) -> Result<(), BackendError> {
        /// Bytes before the first region, and of each.
        const REGIONS_AT: usize = 8;
        const REGION_LEN: usize = 32;
        let count = message.word(0) as usize;
        if count != message.files.len() {
            return Err(BackendError::Protocol("a memory table without its files"));
        }
        self.regions.clear();
        let mut ranges = Vec::new();
        for (index, file) in message.files.drain(..).enumerate().collect::<Vec<_>>() {
            let at = REGIONS_AT + index * REGION_LEN;
            let region = Region {
                guest: message.long(at),
                size: message.long(at + 8),
                monitor: message.long(at + 16),
            };
            let size = usize::try_from(region.size)
                .map_err(|_| BackendError::Protocol("a region larger than memory"))?;
            let offset = FileOffset::new(file, message.long(at + 24));
            ranges.push((GuestAddress(region.guest), size, Some(offset)));
            self.regions.push(region);
        }
        ranges.sort_by_key(|(start, ..)| *start);
        let ram = GuestRam::from_ranges_with_files(&ranges)
            .map_err(|_| BackendError::Protocol("guest memory that cannot be mapped"))?;
        self.ram = Some(ram);
        Ok(())
    }

    /// The rings of a queue; their addresses are the monitor's own.
    fn place(&mut self, message: &Message) -> Result<(), BackendError> {
        let guest = |address: u64| {
            let inside = |region: &&Region| {
                address.checked_sub(region.monitor).is_some_and(|offset| offset < region.size)
            };
            let region = self.regions.iter().find(inside);
            region
                .map(|region| address - region.monitor + region.guest)
                .ok_or(BackendError::Protocol("a ring outside of guest memory"))
        };
        let (table, used, available) =
            (guest(message.long(8))?, guest(message.long(16))?, guest(message.long(24))?);
        let settings = self.queue(message)?.settings();
        let halves = |address: u64| {
            // Truncation is meant: the two halves of a register pair.
            #[expect(clippy::cast_possible_truncation, reason = "two halves of an address")]
            (Some(address as u32), Some((address >> 32) as u32))
        };
        let (low, high) = halves(table);
        settings.set_desc_table_address(low, high);
        let (low, high) = halves(available);
        settings.set_avail_ring_address(low, high);
        let (low, high) = halves(used);
        settings.set_used_ring_address(low, high);
        Ok(())
    }

    /// The event descriptor of a queue's kicks; a queue starts with it.
    fn take_kick(&mut self, message: &mut Message) -> Result<(), BackendError> {
        let kick = message.files.pop().filter(|_| message.long(0) & NO_FD == 0);
        let kick = kick.ok_or(BackendError::Protocol("a queue without kicks"))?;
        let index = message.long(0) & 0xff;
        self.epoll
            .add(kick.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, FIRST_KICK + index))
            .map_err(failed("watch a queue"))?;
        self.doorbell(message)?.kick = Some(kick);
        Ok(())
    }

    fn queue(&mut self, message: &Message) -> Result<&mut VirtQueue, BackendError> {
        let index = (message.word(0) & 0xff) as usize;
        self.queues.get_mut(index).ok_or(BackendError::Protocol("a queue we do not have"))
    }

    fn doorbell(&mut self, message: &Message) -> Result<&mut Doorbell, BackendError> {
        let index = (message.word(0) & 0xff) as usize;
        self.doorbells.get_mut(index).ok_or(BackendError::Protocol("a queue we do not have"))
    }
}
