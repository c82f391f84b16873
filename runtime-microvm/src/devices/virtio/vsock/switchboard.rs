//! All connections of a guest, and the Unix sockets they come from.
//!
//! Everything is edge-triggered and none of it blocks: the guest's thread and
//! the event loop both work here, one at a time.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use super::connection::{Connection, Fate, Next};
use super::packet::{FromGuest, HEADER_LEN, Op, Ports, ToGuest};
use super::{MAX_CONNECTIONS, VsockError, VsockMetrics, unix};
use crate::devices::virtio::{Buffers, Malformed};

/// Event tokens from here on belong to vsock; smaller ones to the event loop.
pub const FIRST_TOKEN: u64 = 1 << 16;
/// The listener's token.
const LISTENER: u64 = FIRST_TOKEN;
/// First host port of connections made by host processes: above all ports a
/// service would listen on.
pub(super) const FIRST_HOST_PORT: u32 = 1 << 30;
/// Most host processes that have connected but not yet said where to.
const MAX_CALLERS: usize = 16;
/// Longest `CONNECT <port>\n`.
const MAX_GREETING: usize = 32;
/// Most refusals kept for a guest that takes no packets.
const MAX_RESETS: usize = 256;

/// The connections.
#[derive(Debug)]
pub struct Switchboard {
    pub(super) path: PathBuf,
    listener: UnixListener,
    epoll: Arc<Epoll>,
    pub(super) connections: BTreeMap<Ports, Connection>,
    /// Event tokens of connections and callers.
    pub(super) tokens: BTreeMap<u64, Ports>,
    callers: BTreeMap<u64, UnixStream>,
    /// Connections that may have a packet for the guest, in turn.
    talkative: VecDeque<Ports>,
    /// Refusals the guest has not been told of.
    pub(super) resets: VecDeque<Ports>,
    next_token: u64,
    pub(super) next_host_port: u32,
    pub(super) metrics: VsockMetrics,
}

impl Switchboard {
    pub(super) fn new(path: PathBuf, epoll: Arc<Epoll>) -> Result<Self, VsockError> {
        let listener = UnixListener::bind(&path)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(|source| VsockError::Listen { path: path.clone(), source })?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, LISTENER);
        epoll.add(&listener, event).map_err(|errno| VsockError::Watch(errno.into()))?;
        Ok(Self {
            path,
            listener,
            epoll,
            connections: BTreeMap::new(),
            tokens: BTreeMap::new(),
            callers: BTreeMap::new(),
            talkative: VecDeque::new(),
            resets: VecDeque::new(),
            next_token: FIRST_TOKEN + 1,
            next_host_port: FIRST_HOST_PORT,
            metrics: VsockMetrics::default(),
        })
    }

    /// Forgets every connection: the guest's driver was reset.
    pub fn clear(&mut self) {
        self.connections.clear();
        self.tokens.clear();
        self.talkative.clear();
        self.resets.clear();
    }

    /// Whether a packet may be waiting for the guest.
    pub fn has_something_to_say(&self) -> bool {
        !self.resets.is_empty() || !self.talkative.is_empty()
    }

    /// Whether nothing is under way on any connection.
    pub fn is_quiet(&self) -> bool {
        self.connections.values().all(Connection::is_quiet)
    }

    /// Something happened to the socket behind `token`.
    pub fn wake(&mut self, token: u64, events: EpollFlags) {
        if token == LISTENER {
            self.answer_callers();
        } else if self.callers.contains_key(&token) {
            self.hear_caller(token);
        } else if let Some(ports) = self.tokens.get(&token).copied() {
            let Some(connection) = self.connections.get_mut(&ports) else { return };
            connection.wake(events.contains(EpollFlags::EPOLLHUP));
            let fate = connection.flush();
            self.settle(ports, fate);
        }
    }

    fn answer_callers(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let ready =
                self.callers.len() < MAX_CALLERS && stream.set_nonblocking(true).is_ok();
            if let Some(token) = ready.then(|| self.watch(&stream).ok()).flatten() {
                self.callers.insert(token, stream);
                self.hear_caller(token);
            }
        }
    }

    /// Reads `CONNECT <port>\n`, and nothing behind it.
    fn hear_caller(&mut self, token: u64) {
        let Some(stream) = self.callers.remove(&token) else { return };
        let mut greeting = [0; MAX_GREETING];
        let seen = match unix::peek(&stream, &mut greeting) {
            Ok(0) => return,
            Ok(seen) => seen,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => return,
        };
        let Some(end) = greeting[..seen].iter().position(|byte| *byte == b'\n') else {
            if seen < MAX_GREETING {
                self.callers.insert(token, stream);
            }
            return;
        };
        let mut line =
            [libc::iovec { iov_base: greeting.as_mut_ptr().cast(), iov_len: end + 1 }];
        let taken = unix::receive(&stream, &mut line).ok() == Some(end + 1);
        if let (true, Some(guest)) = (taken, parse_greeting(&greeting[..end])) {
            self.call_guest(token, stream, guest);
        }
    }

    fn call_guest(&mut self, token: u64, stream: UnixStream, guest: u32) {
        if self.connections.len() >= MAX_CONNECTIONS {
            return;
        }
        let ports = Ports { host: self.free_host_port(guest), guest };
        self.tokens.insert(token, ports);
        self.insert(ports, Connection::requested(stream, ports.host));
    }

    fn free_host_port(&mut self, guest: u32) -> u32 {
        loop {
            let host = self.next_host_port;
            self.next_host_port = host.checked_add(1).unwrap_or(FIRST_HOST_PORT);
            if !self.connections.contains_key(&Ports { host, guest }) {
                return host;
            }
        }
    }

    fn insert(&mut self, ports: Ports, connection: Connection) {
        self.metrics.connections += 1;
        self.connections.insert(ports, connection);
        self.settle(ports, Fate::Keep);
    }

    pub(super) fn watch(&mut self, stream: &UnixStream) -> io::Result<u64> {
        let token = self.next_token;
        self.next_token += 1;
        let interest = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLET;
        self.epoll.add(stream, EpollEvent::new(interest, token))?;
        Ok(token)
    }

    /// A packet from the guest.
    pub fn hear_guest(&mut self, packet: &Buffers<'_, '_>) -> Result<(), Malformed> {
        let mut bytes = [0; HEADER_LEN];
        packet.read_at(0, &mut bytes)?;
        let header = FromGuest::parse(&bytes);
        if header.op == Some(Op::Data) && packet.len() - HEADER_LEN < header.len as usize {
            return Err(Malformed::TooShort);
        }
        self.metrics.packets_from_guest += 1;
        if !header.addressed {
            if header.op != Some(Op::Reset) {
                self.refuse(header.ports);
            }
            return Ok(());
        }
        match self.connections.get_mut(&header.ports) {
            Some(connection) => {
                let fate = connection.hear(&header, packet);
                self.settle(header.ports, fate);
            }
            None if header.op == Some(Op::Request) => self.call_host(&header),
            None if header.op == Some(Op::Reset) => {}
            None => self.refuse(header.ports),
        }
        Ok(())
    }

    /// The guest asks for a connection to a host port.
    fn call_host(&mut self, request: &FromGuest) {
        match self.reach_host(request.ports.host) {
            Some((token, stream)) => {
                self.tokens.insert(token, request.ports);
                self.insert(request.ports, Connection::accepted(stream, request));
            }
            None => self.refuse(request.ports),
        }
    }

    /// A watched connection to whoever listens at a port of the host.
    pub(super) fn reach_host(&mut self, port: u32) -> Option<(u64, UnixStream)> {
        let mut path = self.path.as_os_str().as_bytes().to_vec();
        path.extend(format!("_{port}").as_bytes());
        let path = PathBuf::from(OsString::from_vec(path));
        let room = self.connections.len() < MAX_CONNECTIONS;
        let stream = room.then(|| unix::connect_now(&path).ok()).flatten()?;
        Some((self.watch(&stream).ok()?, stream))
    }

    pub(super) fn settle(&mut self, ports: Ports, fate: Fate) {
        match fate {
            Fate::Keep => {
                let talks =
                    self.connections.get(&ports).is_some_and(Connection::has_something_to_say);
                if talks && !self.talkative.contains(&ports) {
                    self.talkative.push_back(ports);
                }
            }
            Fate::Reset => {
                self.forget(ports);
                self.refuse(ports);
            }
            Fate::Forget => self.forget(ports),
        }
    }

    fn forget(&mut self, ports: Ports) {
        self.connections.remove(&ports);
        self.tokens.retain(|_, other| *other != ports);
        self.talkative.retain(|other| *other != ports);
    }

    pub(super) fn refuse(&mut self, ports: Ports) {
        self.metrics.resets += 1;
        if self.resets.len() < MAX_RESETS {
            self.resets.push_back(ports);
        }
    }

    /// Writes the next packet for the guest into `packet`; `None` when there is
    /// none after all.
    pub fn talk(&mut self, packet: &Buffers<'_, '_>) -> Result<Option<usize>, Malformed> {
        let room = packet.len().checked_sub(HEADER_LEN).ok_or(Malformed::TooShort)?;
        if let Some(ports) = self.resets.pop_front() {
            let reset = ToGuest { ports, op: Op::Reset, len: 0, flags: 0, fwd_cnt: 0 };
            packet.write_at(0, &reset.to_bytes())?;
            self.metrics.packets_to_guest += 1;
            return Ok(Some(HEADER_LEN));
        }
        while let Some(ports) = self.talkative.pop_front() {
            let Some(connection) = self.connections.get_mut(&ports) else { continue };
            match connection.say(packet, room) {
                Next::Packet(said) => {
                    let fwd_cnt = connection.announce_forwarded();
                    let header = ToGuest {
                        ports,
                        op: said.op,
                        len: said.len,
                        flags: said.flags,
                        fwd_cnt,
                    };
                    packet.write_at(0, &header.to_bytes())?;
                    self.metrics.packets_to_guest += 1;
                    self.settle(ports, Fate::Keep);
                    return Ok(Some(HEADER_LEN + said.len as usize));
                }
                Next::Nothing => {}
                Next::Broken => {
                    self.settle(ports, Fate::Reset);
                    return self.talk(packet);
                }
            }
        }
        Ok(None)
    }
}

fn parse_greeting(line: &[u8]) -> Option<u32> {
    std::str::from_utf8(line).ok()?.strip_prefix("CONNECT ")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings() {
        assert_eq!(parse_greeting(b"CONNECT 1025"), Some(1025));
        assert_eq!(parse_greeting(b"CONNECT 1025\r"), Some(1025));
        for bad in
            [&b"CONNECT"[..], b"CONNECT -1", b"connect 1", b"CONNECT 5000000000", b"\xff"]
        {
            assert_eq!(parse_greeting(bad), None);
        }
    }
}
