//! One connection: credit in both directions, half-closes, and what waits to
//! be said to the guest.

use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use super::packet::{FromGuest, HEADER_LEN, Op, SHUTDOWN_RECEIVE, SHUTDOWN_SEND};
use super::{CREDIT, MAX_PAYLOAD, unix};
use crate::devices::virtio::Buffers;

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Fate {
    /// It goes on.
    Keep,
    /// It is over, and the guest is told.
    Reset,
    /// It is over, and the guest knows.
    Forget,
}

/// A packet for the guest, the payload of which is in its buffers already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// What it is for.
    pub op: Op,
    /// Length of the payload.
    pub len: u32,
    /// Flags of [`Op::Shutdown`].
    pub flags: u32,
}

/// What a look for something to say found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// A packet.
    Packet(Said),
    /// Nothing, for now.
    Nothing,
    /// The host's socket broke.
    Broken,
}

/// A connection between a port of the guest and a socket of the host.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of a protocol state")]
pub struct Connection {
    pub(super) stream: UnixStream,
    /// Host port, to be announced with `OK` when the guest accepts.
    pub(super) announce: Option<u32>,
    pub(super) open: bool,
    pub(super) say_request: bool,
    pub(super) say_response: bool,
    pub(super) say_shutdown: Option<u32>,
    pub(super) say_credit: bool,
    /// Data may be waiting in the stream (edge-triggered).
    pub(super) readable: bool,
    /// The stream ended and the guest was told, or is about to be.
    pub(super) ended: bool,
    pub(super) hung_up: bool,
    pub(super) asked_for_credit: bool,
    /// Bytes sent to the guest, and what it said about its buffer; all modulo 2^32.
    pub(super) sent: u32,
    pub(super) guest_buffer: u32,
    pub(super) guest_taken: u32,
    /// Bytes from the guest the stream did not take yet.
    pub(super) backlog: VecDeque<u8>,
    /// Bytes handed on to the stream, and how many of them the guest knows of.
    pub(super) forwarded: u32,
    pub(super) announced: u32,
    pub(super) guest_sends_no_more: bool,
    pub(super) guest_receives_no_more: bool,
    pub(super) half_closed: bool,
}

impl Connection {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            announce: None,
            open: false,
            say_request: false,
            say_response: false,
            say_shutdown: None,
            say_credit: false,
            readable: false,
            ended: false,
            hung_up: false,
            asked_for_credit: false,
            sent: 0,
            guest_buffer: 0,
            guest_taken: 0,
            backlog: VecDeque::new(),
            forwarded: 0,
            announced: 0,
            guest_sends_no_more: false,
            guest_receives_no_more: false,
            half_closed: false,
        }
    }

    /// A connection the guest asked for with `request`, and the host accepted.
    pub fn accepted(stream: UnixStream, request: &FromGuest) -> Self {
        let mut connection = Self::new(stream);
        connection.open = true;
        connection.say_response = true;
        connection.learn_credit(request);
        connection
    }

    /// A connection a host process asks for, from `host_port`.
    pub fn requested(stream: UnixStream, host_port: u32) -> Self {
        let mut connection = Self::new(stream);
        connection.announce = Some(host_port);
        connection.say_request = true;
        connection
    }

    /// Bytes handed on to the host process so far; saying it announces it.
    pub fn announce_forwarded(&mut self) -> u32 {
        self.announced = self.forwarded;
        self.say_credit = false;
        self.forwarded
    }

    fn learn_credit(&mut self, header: &FromGuest) {
        self.guest_buffer = header.buf_alloc;
        self.guest_taken = header.fwd_cnt;
        if self.credit() > 0 {
            self.asked_for_credit = false;
        }
    }

    /// How much the guest can take now. A guest that claims to have taken more
    /// than was sent gets nothing.
    fn credit(&self) -> u32 {
        self.guest_buffer.saturating_sub(self.sent.wrapping_sub(self.guest_taken))
    }

    /// Whether a packet is waiting for the guest.
    pub fn has_something_to_say(&self) -> bool {
        self.say_request
            || self.say_response
            || self.say_shutdown.is_some()
            || self.say_credit
            || (self.may_read() && (self.credit() > 0 || !self.asked_for_credit))
    }

    fn may_read(&self) -> bool {
        self.open && self.readable && !self.ended && !self.guest_receives_no_more
    }

    /// Whether nothing is on its way in either direction, and nothing held back.
    pub fn is_quiet(&self) -> bool {
        let silent =
            self.ended || unix::peek(&self.stream, &mut [0]).is_err_and(|e| is_empty(&e));
        silent
            && self.backlog.is_empty()
            && self.credit() > 0
            && self.announce.is_none()
            && !self.has_something_to_say()
    }

    /// A packet from the guest; `payload` begins behind its header.
    pub fn hear(&mut self, header: &FromGuest, packet: &Buffers<'_, '_>) -> Fate {
        self.learn_credit(header);
        match header.op {
            Some(Op::Response) if self.announce.is_some() => self.established(),
            Some(Op::Data) => self.take(packet, header.len as usize),
            Some(Op::Shutdown) => {
                self.guest_sends_no_more |= header.flags & SHUTDOWN_SEND != 0;
                self.guest_receives_no_more |= header.flags & SHUTDOWN_RECEIVE != 0;
                self.close_what_is_drained()
            }
            Some(Op::CreditUpdate) => Fate::Keep,
            Some(Op::CreditRequest) => {
                self.say_credit = true;
                Fate::Keep
            }
            Some(Op::Reset) => Fate::Forget,
            Some(Op::Request | Op::Response) | None => Fate::Reset,
        }
    }

    /// The guest accepted: tell the host process.
    fn established(&mut self) -> Fate {
        let Some(port) = self.announce.take() else { return Fate::Reset };
        self.open = true;
        self.readable = true;
        // Ahead of the guest's first data; nothing of it has been forwarded.
        let greeting = format!("OK {port}\n");
        self.backlog.extend(greeting.as_bytes());
        self.forwarded =
            self.forwarded.wrapping_sub(u32::try_from(greeting.len()).unwrap_or(0));
        self.announced = self.forwarded;
        self.flush()
    }

    /// Data from the guest: to the stream, and what it does not take into the
    /// backlog, up to the credit the guest was given.
    fn take(&mut self, packet: &Buffers<'_, '_>, len: usize) -> Fate {
        let in_bounds = self.backlog.len() + len <= CREDIT as usize;
        if !self.open || self.guest_sends_no_more || !in_bounds {
            return Fate::Reset;
        }
        let mut done = 0;
        while self.backlog.is_empty() && done < len {
            match unix::send(&self.stream, &mut packet.iovecs(HEADER_LEN + done, len - done)) {
                Ok(sent) => done += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return Fate::Reset,
            }
        }
        self.forward(done);
        if done < len {
            let mut rest = vec![0; len - done];
            if packet.read_at(HEADER_LEN + done, &mut rest).is_err() {
                return Fate::Reset;
            }
            self.backlog.extend(rest);
        }
        Fate::Keep
    }

    /// The stream takes data again.
    pub fn flush(&mut self) -> Fate {
        while !self.backlog.is_empty() {
            let (front, back) = self.backlog.as_slices();
            let mut pieces = [front, back].map(|slice| libc::iovec {
                iov_base: slice.as_ptr().cast_mut().cast(),
                iov_len: slice.len(),
            });
            match unix::send(&self.stream, &mut pieces) {
                Ok(sent) => {
                    self.backlog.drain(..sent);
                    self.forward(sent);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Fate::Keep,
                Err(_) => return Fate::Reset,
            }
        }
        self.close_what_is_drained()
    }

    /// Counts what was handed on; the guest hears of it when half of its credit
    /// is used up, or with the next packet anyway.
    fn forward(&mut self, bytes: usize) {
        self.forwarded = self.forwarded.wrapping_add(u32::try_from(bytes).unwrap_or(0));
        if self.forwarded.wrapping_sub(self.announced) >= CREDIT / 2 {
            self.say_credit = true;
        }
    }

    /// Passes the guest's closing on once the stream has everything.
    fn close_what_is_drained(&mut self) -> Fate {
        if !self.guest_sends_no_more || !self.backlog.is_empty() {
            return Fate::Keep;
        }
        if self.guest_receives_no_more {
            return Fate::Reset;
        }
        if !std::mem::replace(&mut self.half_closed, true) {
            // The host process may be gone already; the guest learns that by itself.
            drop(self.stream.shutdown(Shutdown::Write));
        }
        Fate::Keep
    }

    /// The stream may be readable; `hung_up`: nobody is at its other end.
    pub fn wake(&mut self, hung_up: bool) {
        self.readable = true;
        self.hung_up |= hung_up;
    }

    /// The next packet for the guest, payload of at most `room` bytes read into
    /// `packet` behind the header.
    pub fn say(&mut self, packet: &Buffers<'_, '_>, room: usize) -> Next {
        let plain = |op| Next::Packet(Said { op, len: 0, flags: 0 });
        if std::mem::take(&mut self.say_request) {
            return plain(Op::Request);
        }
        if std::mem::take(&mut self.say_response) {
            return plain(Op::Response);
        }
        if self.may_read() {
            match self.read(packet, room) {
                Next::Nothing => {}
                next => return next,
            }
        }
        if let Some(flags) = self.say_shutdown.take() {
            return Next::Packet(Said { op: Op::Shutdown, len: 0, flags });
        }
        if std::mem::take(&mut self.say_credit) {
            return plain(Op::CreditUpdate);
        }
        Next::Nothing
    }

    fn read(&mut self, packet: &Buffers<'_, '_>, room: usize) -> Next {
        let credit = self.credit();
        if credit == 0 {
            let asked = std::mem::replace(&mut self.asked_for_credit, true);
            let request = Said { op: Op::CreditRequest, len: 0, flags: 0 };
            return if asked { Next::Nothing } else { Next::Packet(request) };
        }
        let most = room.min(credit as usize).min(MAX_PAYLOAD);
        match unix::receive(&self.stream, &mut packet.iovecs(HEADER_LEN, most)) {
            Ok(0) => {
                self.ended = true;
                let both = SHUTDOWN_SEND | SHUTDOWN_RECEIVE;
                self.say_shutdown = Some(if self.hung_up { both } else { SHUTDOWN_SEND });
                Next::Nothing
            }
            Ok(read) => {
                let len = u32::try_from(read).unwrap_or(0);
                self.sent = self.sent.wrapping_add(len);
                Next::Packet(Said { op: Op::Data, len, flags: 0 })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Next::Nothing
            }
            Err(_) => Next::Broken,
        }
    }
}

fn is_empty(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}
