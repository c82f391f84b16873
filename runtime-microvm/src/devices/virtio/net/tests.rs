//! The card as a driver sees it, on a socket that keeps frames apart as a tap does.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::{HEADER_LEN, Link, Net, NetMetrics, RECEIVE, TRANSMIT, Tap};
use crate::devices::ioapic::{IoApic, MsiSink};
use crate::devices::virtio::driver::{BUFFERS, Driver};
use crate::devices::virtio::mmio::MmioTransport;

const LINK: Link = Link { mac: [2, 1, 2, 3, 4, 5], mtu: 1500 };
const TOKEN: u64 = 7;

/// The host's end.
pub struct Wire {
    socket: UnixDatagram,
    epoll: Arc<Epoll>,
}

impl Wire {
    /// A card and the other end of its wire.
    pub fn new() -> (Self, Net) {
        let (socket, tap) = UnixDatagram::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        let epoll = Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap());
        let mut net = Net::new();
        net.connect(LINK, Tap::over(tap.into(), epoll.clone(), TOKEN).unwrap());
        (Self { socket, epoll }, net)
    }

    /// A frame comes from the host.
    pub fn arrives(&self, frame: &[u8]) {
        self.socket.send(&[&[0; HEADER_LEN], frame].concat()).unwrap();
    }

    /// What the guest has sent last, without its header.
    fn sent(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 1 << 17];
        match self.socket.recv(&mut bytes) {
            Ok(len) => Some(bytes[HEADER_LEN..len].to_vec()),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                None
            }
        }
    }

    /// Lets the device do all there is to do, as the event loop does; how often that
    /// was.
    fn settle(&self, driver: &mut Driver<Net>) -> usize {
        for rounds in 0.. {
            let mut events = [EpollEvent::empty()];
            if self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap() == 0 {
                return rounds;
            }
            assert_eq!(events[0].data(), TOKEN);
            let events = events[0].events();
            driver.transport.serve(|net, queues, ram| net.wake(events, queues, ram));
            assert!(rounds < 1000, "it is busy for ever");
        }
        unreachable!()
    }
}

/// Headers before frames, sense and nonsense.
pub fn frames() -> impl Strategy<Value = Vec<u8>> {
    (any::<[u8; HEADER_LEN]>(), any::<[u8; 16]>())
        .prop_map(|(header, frame)| [&header[..], &frame[..]].concat())
}

fn driver() -> (Wire, Driver<Net>) {
    let (wire, net) = Wire::new();
    (wire, Driver::new(net))
}

/// `len` bytes that differ.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

fn metrics(driver: &Driver<Net>) -> NetMetrics {
    driver.transport.device().metrics()
}

/// Adds receive buffers of `len` bytes each, one after the other from `BUFFERS` on.
fn add_buffers(driver: &mut Driver<Net>, count: u64, len: u32) {
    for index in 0..count {
        driver.add(RECEIVE, &[(BUFFERS + index * u64::from(len), len, true)]);
    }
}

/// The frame in the next used buffers, which are of `len` bytes, and how many those
/// are by its header.
fn received(driver: &mut Driver<Net>, len: u32) -> Option<(Vec<u8>, u16)> {
    let (head, written) = driver.used(RECEIVE)?;
    let at = |head: u32| BUFFERS + u64::from(head) * u64::from(len);
    let mut bytes = driver.bytes(at(head), usize::try_from(written).unwrap());
    let buffers = u16::from_le_bytes([bytes[10], bytes[11]]);
    for _ in 1..buffers {
        let (head, written) = driver.used(RECEIVE).expect("all buffers of a frame are used");
        bytes.extend(driver.bytes(at(head), usize::try_from(written).unwrap()));
    }
    Some((bytes[HEADER_LEN..].to_vec(), buffers))
}

#[test]
fn the_configuration_says_what_the_network_is() {
    let (_wire, mut driver) = driver();
    assert_eq!(driver.get(0x100), u32::from_le_bytes([2, 1, 2, 3]));
    assert_eq!(driver.get(0x104), u32::from_le_bytes([4, 5, 1, 0]), "address, link up");
    assert_eq!(driver.get(0x108) >> 16, 1500);
    let mut unplugged = Driver::new(Net::new());
    assert_eq!(unplugged.get(0x104) >> 16, 0, "link down");
}

#[test]
fn frames_go_out_in_any_number_of_pieces_with_one_interrupt_for_all() {
    let (wire, mut driver) = driver();
    let frame = pattern(3000);
    driver.ram.write_slice(&frame, GuestAddress(BUFFERS + 0x1000)).unwrap();
    driver.await_used(TRANSMIT);
    for _ in 0..3 {
        driver.add(
            TRANSMIT,
            &[
                (BUFFERS, 12, false),
                (BUFFERS + 0x1000, 1000, false),
                (BUFFERS + 0x1000 + 1000, 2000, false),
            ],
        );
    }
    driver.kick(TRANSMIT);
    for _ in 0..3 {
        assert_eq!(wire.sent().as_deref(), Some(&frame[..]));
        assert!(driver.used(TRANSMIT).is_some());
    }
    assert_eq!(driver.interrupts(), 1);
    assert!(driver.is_awaited(TRANSMIT));
    let metrics = metrics(&driver);
    assert_eq!((metrics.sent, metrics.sent_bytes, metrics.not_sent), (3, 9000, 0));
    // Nobody waits for this one.
    driver.add(TRANSMIT, &[(BUFFERS, 40, false)]);
    driver.kick(TRANSMIT);
    assert_eq!(driver.interrupts(), 0);
}

#[test]
fn frames_of_no_use_are_lost_and_harm_nobody() {
    let (wire, mut driver) = driver();
    driver.add(TRANSMIT, &[(BUFFERS, 11, false)]);
    driver.add(TRANSMIT, &[(BUFFERS, 0x1_2000, false)]);
    driver.add(TRANSMIT, &[(BUFFERS, 100, true)]);
    driver.kick(TRANSMIT);
    assert_eq!((0..3).filter(|_| driver.used(TRANSMIT).is_some()).count(), 3);
    assert_eq!((wire.sent(), metrics(&driver).not_sent), (None, 3));
    assert!(!driver.needs_reset());
}

#[test]
fn a_host_that_takes_nothing_is_waited_for() {
    let (wire, mut driver) = driver();
    let frame = pattern(60_000);
    driver.ram.write_slice(&frame, GuestAddress(BUFFERS + 12)).unwrap();
    let buffers = [(BUFFERS, u32::try_from(frame.len() + 12).unwrap(), false)];
    for _ in 0..100 {
        driver.add(TRANSMIT, &buffers);
    }
    driver.kick(TRANSMIT);
    let first = metrics(&driver).sent;
    assert!((1..100).contains(&first), "{first}");
    assert_eq!(wire.settle(&mut driver), 0, "nothing to do until the host reads");
    let mut seen = 0;
    while let Some(sent) = wire.sent() {
        assert!(sent == frame);
        seen += 1;
        wire.settle(&mut driver);
    }
    assert_eq!((seen, metrics(&driver).sent), (100, 100));
}

#[test]
fn frames_come_in_with_one_interrupt_for_all() {
    let (wire, mut driver) = driver();
    add_buffers(&mut driver, 64, 1536);
    driver.await_used(RECEIVE);
    for len in [60, 1514, 20] {
        wire.arrives(&pattern(len));
    }
    wire.settle(&mut driver);
    for len in [60, 1514, 20] {
        assert_eq!(received(&mut driver, 1536), Some((pattern(len), 1)));
    }
    assert_eq!(driver.interrupts(), 1);
    assert_eq!((metrics(&driver).received, metrics(&driver).copied), (3, 0));
    assert_eq!(metrics(&driver).received_bytes, 60 + 1514 + 20);
}

#[test]
fn a_large_frame_spans_buffers() {
    let (wire, mut driver) = driver();
    add_buffers(&mut driver, 64, 1536);
    wire.arrives(&pattern(65_000));
    wire.arrives(&pattern(100));
    wire.settle(&mut driver);
    let buffers = u16::try_from((65_000 + HEADER_LEN).div_ceil(1536)).unwrap();
    assert!(received(&mut driver, 1536) == Some((pattern(65_000), buffers)));
    assert!(received(&mut driver, 1536) == Some((pattern(100), 1)));
    // The second found too few buffers for the largest frame and was small enough.
    assert_eq!((metrics(&driver).received, metrics(&driver).copied), (2, 1));
}

#[test]
fn frames_wait_for_buffers_without_anybody_looking() {
    let (wire, mut driver) = driver();
    wire.arrives(&pattern(5000));
    wire.arrives(&pattern(60));
    assert_eq!(wire.settle(&mut driver), 1);
    assert!(driver.is_awaited(RECEIVE), "the guest is to kick");
    add_buffers(&mut driver, 2, 1536);
    driver.kick(RECEIVE);
    assert_eq!((driver.used(RECEIVE), wire.settle(&mut driver)), (None, 0), "too few");
    for index in 2..6 {
        driver.add(RECEIVE, &[(BUFFERS + index * 1536, 1536, true)]);
    }
    driver.kick(RECEIVE);
    assert!(received(&mut driver, 1536) == Some((pattern(5000), 4)));
    assert!(received(&mut driver, 1536) == Some((pattern(60), 1)));
    assert_eq!(metrics(&driver).not_received, 0);
}

#[test]
fn a_frame_that_never_fits_makes_room_for_the_next() {
    let (wire, mut driver) = driver();
    add_buffers(&mut driver, 128, 100);
    wire.arrives(&pattern(20_000));
    wire.arrives(&pattern(150));
    wire.settle(&mut driver);
    assert!(received(&mut driver, 100) == Some((pattern(150), 2)));
    assert_eq!((metrics(&driver).received, metrics(&driver).not_received), (1, 1));
}

#[test]
fn buffers_too_small_for_a_header_stop_the_device() {
    let (wire, mut driver) = driver();
    add_buffers(&mut driver, 20, 8);
    wire.arrives(&pattern(60));
    wire.settle(&mut driver);
    assert!(driver.needs_reset());
    wire.arrives(&pattern(60));
    assert!(wire.settle(&mut driver) <= 1, "and it does not look at the host any more");
}

#[test]
fn without_a_network_what_is_sent_is_lost() {
    let mut driver = Driver::new(Net::new());
    driver.add(TRANSMIT, &[(BUFFERS, 100, false)]);
    driver.kick(TRANSMIT);
    assert!(driver.used(TRANSMIT).is_some());
    add_buffers(&mut driver, 2, 1536);
    driver.kick(RECEIVE);
    assert_eq!((driver.used(RECEIVE), metrics(&driver).not_sent), (None, 1));
}

#[test]
fn a_host_that_goes_takes_the_link_down() {
    let (wire, mut driver) = driver();
    driver.interrupts();
    let events = EpollFlags::EPOLLHUP | EpollFlags::EPOLLIN;
    driver.transport.serve(|net, queues, ram| net.wake(events, queues, ram));
    assert_eq!((driver.get(0x104) >> 16, driver.get(0x060), driver.interrupts()), (0, 2, 1));
    drop(wire);
    driver.add(TRANSMIT, &[(BUFFERS, 100, false)]);
    driver.kick(TRANSMIT);
    assert!(driver.used(TRANSMIT).is_some());
}

struct Nowhere;

impl MsiSink for Nowhere {
    fn deliver(&self, _address: u64, _data: u32) {}
}

#[test]
fn a_clone_gets_a_network_and_its_driver_is_told() {
    let saved = Driver::new(Net::new());
    let state = saved.transport.save();
    let (wire, net) = Wire::new();
    let line = IoApic::new(Arc::new(Nowhere)).line(5);
    let mut clone = MmioTransport::new(net, saved.ram.clone(), line);
    clone.restore(&state).unwrap();
    assert_eq!(clone.device().link(), LINK);
    clone.serve(|_, _, _| Ok(crate::devices::virtio::Notify::No));
    let mut interrupt = [0; 4];
    crate::devices::bus::MmioDevice::read(&mut clone, 0x060, &mut interrupt);
    assert_eq!(interrupt, [2, 0, 0, 0], "a configuration change");
    // What both sides had agreed on holds: frames span buffers.
    let mut driver = saved;
    driver.transport = clone;
    add_buffers(&mut driver, 64, 1536);
    wire.arrives(&pattern(5000));
    wire.settle(&mut driver);
    assert!(received(&mut driver, 1536) == Some((pattern(5000), 4)));
}
