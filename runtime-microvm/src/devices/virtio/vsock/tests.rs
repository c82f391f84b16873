//! vsock as a driver in the guest and processes on the host see it.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollTimeout};
use vm_memory::{Bytes, GuestAddress};

use super::packet::{HEADER_LEN, Op, SHUTDOWN_RECEIVE, SHUTDOWN_SEND};
use super::{CREDIT, Vsock};
use crate::devices::ioapic::{IoApic, MsiSink};
use crate::devices::virtio::driver::{BUFFERS, Driver};
use crate::devices::virtio::mmio::MmioTransport;

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
const HDR: u32 = 44;
const RX_LEN: u32 = HDR + 4096;
const TX: u64 = BUFFERS + 0x1_8000;
const GUEST_PORT: u32 = 77;
const HOST_PORT: u32 = 1024;

struct Guest {
    driver: Driver<Vsock>,
    epoll: Arc<Epoll>,
    dir: tempfile::TempDir,
    next_buffer: u64,
    buffers: std::collections::BTreeMap<u32, u64>,
}

#[derive(Debug, PartialEq, Eq)]
struct Packet {
    op: u16,
    host_port: u32,
    flags: u32,
    fwd_cnt: u32,
    data: Vec<u8>,
}

impl Guest {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let epoll = Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap());
        let vsock = Vsock::new(dir.path().join("v"), epoll.clone()).unwrap();
        let driver = Driver::new(vsock);
        let buffers = std::collections::BTreeMap::new();
        let mut guest = Self { driver, epoll, dir, next_buffer: BUFFERS, buffers };
        for _ in 0..8 {
            guest.give_buffer();
        }
        guest
    }

    fn listen(&self, port: u32) -> UnixListener {
        UnixListener::bind(self.dir.path().join(format!("v_{port}"))).unwrap()
    }

    fn give_buffer(&mut self) {
        let at = BUFFERS + (self.next_buffer - BUFFERS) % 0x1_0000;
        self.next_buffer = at + 0x2000;
        let head = self.driver.add(RECEIVE, &[(at, RX_LEN, true)]);
        self.buffers.insert(u32::from(head), at);
    }

    /// Sends a packet in two buffers, as Linux before 6.2 does.
    fn send(&mut self, op: Op, data: &[u8], flags: u32, credit: (u32, u32)) {
        let mut bytes = [3_u64, 2].map(u64::to_le_bytes).concat();
        let len = u32::try_from(data.len()).unwrap();
        bytes.extend([GUEST_PORT, HOST_PORT, len].map(u32::to_le_bytes).concat());
        bytes.extend([1, op as u16].map(u16::to_le_bytes).concat());
        bytes.extend([flags, credit.0, credit.1].map(u32::to_le_bytes).concat());
        self.driver.ram.write_slice(&bytes, GuestAddress(TX)).unwrap();
        self.driver.ram.write_slice(data, GuestAddress(TX + 64)).unwrap();
        let mut chain = vec![(TX, HDR, false)];
        if !data.is_empty() {
            chain.push((TX + 64, len, false));
        }
        self.driver.add(TRANSMIT, &chain);
        self.driver.kick(TRANSMIT);
    }

    fn say(&mut self, op: Op, data: &[u8]) {
        self.send(op, data, 0, (0x1_0000, 0));
    }

    /// Lets the device see what happened to its sockets.
    fn pump(&mut self) {
        let mut events = [EpollEvent::empty(); 16];
        let ready = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap();
        for event in &events[..ready] {
            self.driver.transport.serve(|vsock, queues, ram| {
                vsock.wake(event.data(), event.events(), queues, ram)
            });
        }
    }

    /// The next packet from the host.
    fn receive(&mut self) -> Option<Packet> {
        self.pump();
        let (head, written) = self.driver.used(RECEIVE)?;
        let at = self.buffers[&head];
        let bytes = self.driver.bytes(at, usize::try_from(written).unwrap());
        self.give_buffer();
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!(bytes[..16], [2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(word(24) as usize, bytes.len() - HEADER_LEN);
        assert_eq!(word(36), CREDIT);
        Some(Packet {
            op: u16::from_le_bytes([bytes[30], bytes[31]]),
            host_port: word(16),
            flags: word(32),
            fwd_cnt: word(40),
            data: bytes[HEADER_LEN..].to_vec(),
        })
    }

    fn expect(&mut self, op: Op) -> Packet {
        let packet = self.receive().expect("a packet");
        assert_eq!(packet.op, op as u16, "{packet:?}");
        packet
    }

    /// A connection the guest has made to the host.
    fn connected(&mut self) -> UnixStream {
        let listener = self.listen(HOST_PORT);
        self.say(Op::Request, &[]);
        self.expect(Op::Response);
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    }
}

#[test]
fn data_flows_both_ways_and_each_end_is_told_of_the_others_end() {
    let mut guest = Guest::new();
    let mut host = guest.connected();
    guest.say(Op::Data, b"from the guest");
    let mut bytes = [0; 32];
    let read = host.read(&mut bytes).unwrap();
    assert_eq!(&bytes[..read], b"from the guest");
    host.write_all(b"from the host").unwrap();
    let packet = guest.expect(Op::Data);
    assert_eq!((packet.data.as_slice(), packet.fwd_cnt), (&b"from the host"[..], 14));

    guest.send(Op::Shutdown, &[], SHUTDOWN_SEND, (0x1_0000, 13));
    assert_eq!(host.read(&mut bytes).unwrap(), 0, "the guest sends no more");
    host.write_all(b"late").unwrap();
    assert_eq!(guest.expect(Op::Data).data, b"late");
    drop(host);
    let both = SHUTDOWN_SEND | SHUTDOWN_RECEIVE;
    assert_eq!(guest.expect(Op::Shutdown).flags, both);
    guest.send(Op::Shutdown, &[], both, (0x1_0000, 17));
    guest.expect(Op::Reset);
    assert_eq!(guest.receive(), None);
}

#[test]
fn a_port_nobody_listens_on_refuses() {
    let mut guest = Guest::new();
    guest.say(Op::Request, &[]);
    guest.expect(Op::Reset);
    guest.say(Op::Data, b"to nobody");
    guest.expect(Op::Reset);
    guest.say(Op::Reset, &[]);
    assert_eq!(guest.receive(), None, "a reset is not answered");
    assert_eq!(guest.driver.transport.device().metrics().resets, 2);
}

#[test]
fn a_host_process_calls_the_guest() {
    let mut guest = Guest::new();
    let mut host = UnixStream::connect(guest.dir.path().join("v")).unwrap();
    host.set_nonblocking(true).unwrap();
    host.write_all(b"CONNE").unwrap();
    assert_eq!(guest.receive(), None);
    host.write_all(format!("CT {GUEST_PORT}\nearly").as_bytes()).unwrap();
    let request = guest.expect(Op::Request);
    assert_eq!(guest.receive(), None, "nothing before the guest has accepted");
    // The driver's packets come from a fixed pair of ports: answer from the one asked.
    let reply = |guest: &mut Guest, op| {
        let mut bytes = [3_u64, 2].map(u64::to_le_bytes).concat();
        bytes.extend([GUEST_PORT, request.host_port, 0].map(u32::to_le_bytes).concat());
        bytes.extend([1, op as u16].map(u16::to_le_bytes).concat());
        bytes.extend([0, 0x1_0000, 0].map(u32::to_le_bytes).concat());
        guest.driver.ram.write_slice(&bytes, GuestAddress(TX)).unwrap();
        guest.driver.add(TRANSMIT, &[(TX, HDR, false)]);
        guest.driver.kick(TRANSMIT);
    };
    reply(&mut guest, Op::Response);
    let mut bytes = [0; 64];
    let read = host.read(&mut bytes).unwrap();
    assert_eq!(bytes[..read], *format!("OK {}\n", request.host_port).as_bytes());
    let early = guest.expect(Op::Data);
    assert_eq!((early.data.as_slice(), early.fwd_cnt), (&b"early"[..], 0));
    reply(&mut guest, Op::Reset);
    assert_eq!(host.read(&mut bytes).unwrap(), 0);
}

#[test]
fn callers_that_talk_nonsense_are_hung_up_on() {
    let mut guest = Guest::new();
    for nonsense in [&b"GET / HTTP/1.1\n"[..], b"CONNECT x\n", &[b'x'; 64]] {
        let mut host = UnixStream::connect(guest.dir.path().join("v")).unwrap();
        host.write_all(nonsense).unwrap();
        assert_eq!(guest.receive(), None);
        // A connection closed with unread data in it is a reset.
        let mut bytes = [0; 8];
        assert!(!matches!(host.read(&mut bytes), Ok(1..)));
    }
}

#[test]
fn the_guests_credit_is_kept_to() {
    let mut guest = Guest::new();
    let mut host = guest.connected();
    guest.send(Op::CreditUpdate, &[], 0, (10, 0));
    host.write_all(&[7; 25]).unwrap();
    assert_eq!(guest.expect(Op::Data).data, [7; 10]);
    guest.expect(Op::CreditRequest);
    assert_eq!(guest.receive(), None);
    guest.send(Op::CreditUpdate, &[], 0, (10, 10));
    assert_eq!(guest.expect(Op::Data).data, [7; 10]);
    guest.expect(Op::CreditRequest);
    guest.send(Op::CreditUpdate, &[], 0, (10, 20));
    assert_eq!(guest.expect(Op::Data).data, [7; 5]);
    // A guest that claims to have taken what was never sent.
    host.write_all(&[8; 5]).unwrap();
    guest.send(Op::CreditUpdate, &[], 0, (10, 1000));
    guest.expect(Op::CreditRequest);
    assert_eq!(guest.receive(), None);
}

#[test]
fn a_host_process_that_does_not_read_holds_the_guest_to_its_credit() {
    let mut guest = Guest::new();
    let mut host = guest.connected();
    let chunk = [9; 4096];
    // What the Unix socket takes is the host's; the rest is what the guest may have
    // on the way.
    let mut sent = 0;
    let refused = (0..4096).any(|_| {
        guest.say(Op::Data, &chunk);
        sent += chunk.len();
        while guest.driver.used(TRANSMIT).is_some() {}
        let answer = guest.receive();
        answer.is_some_and(|packet| packet.op == Op::Reset as u16)
    });
    assert!(refused, "a guest that ignores its credit is cut off");
    assert!(sent > CREDIT as usize);
    let mut total = 0;
    let mut bytes = [0; 65536];
    loop {
        match host.read(&mut bytes) {
            Ok(0) => break,
            Ok(read) => total += read,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(total + CREDIT as usize + chunk.len() >= sent, "{total} of {sent}");
}

#[test]
fn what_was_held_back_is_delivered_and_acknowledged() {
    let mut guest = Guest::new();
    let mut host = guest.connected();
    let mut sent = 0_u32;
    let mut announced = 0;
    let mut received = 0;
    let mut bytes = [0; 16384];
    while sent < 8 * CREDIT {
        while sent - announced + 4096 <= CREDIT {
            guest.say(Op::Data, &[1; 4096]);
            sent += 4096;
        }
        while let Ok(read @ 1..) = host.read(&mut bytes) {
            received += read;
        }
        while let Some(packet) = guest.receive() {
            assert_eq!(packet.op, Op::CreditUpdate as u16);
            announced = packet.fwd_cnt;
        }
    }
    while let Ok(read @ 1..) = host.read(&mut bytes) {
        received += read;
        guest.pump();
    }
    assert_eq!(received, sent as usize);
}

#[test]
fn sent_packets_are_handed_back_in_batches() {
    let mut guest = Guest::new();
    let _host = guest.connected();
    guest.driver.interrupts();
    for _ in 0..6 {
        guest.say(Op::Data, b"x");
        assert_eq!(guest.driver.used(TRANSMIT), None);
    }
    assert_eq!(guest.driver.interrupts(), 0);
    guest.say(Op::Data, b"x");
    assert_eq!(guest.driver.interrupts(), 1);
    assert_eq!(std::iter::from_fn(|| guest.driver.used(TRANSMIT)).count(), 8);
}

#[test]
fn a_guest_without_buffers_is_asked_for_a_kick() {
    let mut guest = Guest::new();
    let mut host = guest.connected();
    let no_notify = |guest: &Guest| {
        let used = crate::devices::virtio::driver::rings(RECEIVE)[2];
        guest.driver.ram.read_obj::<u16>(GuestAddress(used)).unwrap() == 1
    };
    assert!(no_notify(&guest), "kicks are not wanted as long as there are buffers");
    host.write_all(&[5; 4096 * 12]).unwrap();
    guest.pump();
    assert!(!no_notify(&guest));
    let mut total = 0;
    while let Some(packet) = guest.receive() {
        total += packet.data.len();
        guest.driver.kick(RECEIVE);
    }
    assert_eq!(total, 4096 * 12);
    assert!(no_notify(&guest));
}

/// Puts the guest, as it is now, on a new device with another host side.
fn moved(mut guest: Guest) -> (Guest, UnixListener) {
    struct Nowhere;
    impl MsiSink for Nowhere {
        fn deliver(&self, _address: u64, _data: u32) {}
    }
    let state = guest.driver.transport.save();
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join(format!("v_{HOST_PORT}"))).unwrap();
    let epoll = Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap());
    let vsock = Vsock::new(dir.path().join("v"), epoll.clone()).unwrap();
    let line = IoApic::new(Arc::new(Nowhere)).line(5);
    let mut transport = MmioTransport::new(vsock, guest.driver.ram.clone(), line);
    transport.restore(&state).unwrap();
    guest.driver.transport = transport;
    (Guest { epoll, dir, ..guest }, listener)
}

#[test]
fn a_connection_goes_on_with_another_host_process() {
    let mut guest = Guest::new();
    let old = guest.connected();
    guest.say(Op::Data, b"before");
    let (mut guest, listener) = moved(guest);
    drop(old);
    let (mut host, _) = listener.accept().unwrap();
    host.set_nonblocking(true).unwrap();
    assert_eq!(guest.receive(), None, "the guest notices nothing");
    guest.say(Op::Data, b"after");
    let mut bytes = [0; 32];
    let read = host.read(&mut bytes).unwrap();
    assert_eq!(&bytes[..read], b"after");
    host.write_all(b"answer").unwrap();
    let packet = guest.expect(Op::Data);
    assert_eq!((packet.data.as_slice(), packet.fwd_cnt), (&b"answer"[..], 11));
}

#[test]
fn a_connection_that_a_host_process_made_is_reset() {
    let mut guest = Guest::new();
    // The first event of the one that goes on has the guest told of the other.
    let _own = guest.connected();
    let mut host = UnixStream::connect(guest.dir.path().join("v")).unwrap();
    host.write_all(format!("CONNECT {GUEST_PORT}\n").as_bytes()).unwrap();
    let asked = guest.expect(Op::Request).host_port;
    let (mut guest, _listener) = moved(guest);
    assert_eq!(guest.expect(Op::Reset).host_port, asked);
}

#[test]
fn a_reset_of_the_driver_hangs_up() {
    let mut guest = Guest::new();
    let mut host = guest.connected();
    guest.driver.set(0x070, 0);
    assert_eq!(host.read(&mut [0; 8]).unwrap(), 0);
}
