//! The connections between two packets.
//!
//! A connection the guest has made goes on over a new socket to whoever listens
//! at its port on the new host side: the guest's kernel notices nothing, and
//! spends nothing on it. What cannot go on is reset: a connection whose host
//! process has hung up, and one that a host process has made, which is not there
//! any more.

use serde::{Deserialize, Serialize};

use super::Vsock;
use super::connection::{Connection, Fate};
use super::packet::Ports;
use super::switchboard::{FIRST_HOST_PORT, Switchboard};
use crate::devices::virtio::persist::{Persist, RestoreError};

/// What is on its way and what was agreed upon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VsockState {
    /// Packets sent but not handed back to the guest.
    sent: Vec<u16>,
    connections: Vec<(Ports, ConnectionState)>,
    /// Resets the guest has not been told of.
    resets: Vec<Ports>,
    next_host_port: u32,
}

/// One connection; see [`Connection`] for the fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of a protocol state")]
pub struct ConnectionState {
    say_response: bool,
    say_credit: bool,
    asked_for_credit: bool,
    sent: u32,
    guest_buffer: u32,
    guest_taken: u32,
    backlog: Vec<u8>,
    forwarded: u32,
    announced: u32,
    guest_sends_no_more: bool,
    guest_receives_no_more: bool,
}

impl Connection {
    /// The state, unless the connection cannot go on with another host process.
    fn save(&self) -> Option<ConnectionState> {
        (self.open && !self.ended).then(|| ConnectionState {
            say_response: self.say_response,
            say_credit: self.say_credit,
            asked_for_credit: self.asked_for_credit,
            sent: self.sent,
            guest_buffer: self.guest_buffer,
            guest_taken: self.guest_taken,
            backlog: self.backlog.iter().copied().collect(),
            forwarded: self.forwarded,
            announced: self.announced,
            guest_sends_no_more: self.guest_sends_no_more,
            guest_receives_no_more: self.guest_receives_no_more,
        })
    }

    fn restored(stream: std::os::unix::net::UnixStream, state: &ConnectionState) -> Self {
        let mut connection = Self::new(stream);
        connection.open = true;
        connection.say_response = state.say_response;
        connection.say_credit = state.say_credit;
        connection.asked_for_credit = state.asked_for_credit;
        connection.sent = state.sent;
        connection.guest_buffer = state.guest_buffer;
        connection.guest_taken = state.guest_taken;
        connection.backlog = state.backlog.iter().copied().collect();
        connection.forwarded = state.forwarded;
        connection.announced = state.announced;
        connection.guest_sends_no_more = state.guest_sends_no_more;
        connection.guest_receives_no_more = state.guest_receives_no_more;
        connection
    }
}

impl Switchboard {
    /// Connects `ports` to the host again. The first event of the new socket, which
    /// comes by itself, sends what was held back.
    fn reconnect(&mut self, ports: Ports, state: &ConnectionState) {
        match self.reach_host(ports.host) {
            Some((token, stream)) => {
                self.tokens.insert(token, ports);
                self.connections.insert(ports, Connection::restored(stream, state));
                self.settle(ports, Fate::Keep);
            }
            None => self.refuse(ports),
        }
    }
}

impl Persist for Vsock {
    type State = VsockState;

    fn save(&self) -> VsockState {
        let board = &self.switchboard;
        let mut connections = Vec::new();
        let mut resets: Vec<_> = board.resets.iter().copied().collect();
        for (ports, connection) in &board.connections {
            match connection.save().filter(|_| ports.host < FIRST_HOST_PORT) {
                Some(state) => connections.push((*ports, state)),
                None => resets.push(*ports),
            }
        }
        let next_host_port = board.next_host_port;
        VsockState { sent: self.sent.clone(), connections, resets, next_host_port }
    }

    fn restore(&mut self, state: &VsockState) -> Result<(), RestoreError> {
        self.sent.extend(&state.sent);
        let board = &mut self.switchboard;
        board.next_host_port = state.next_host_port.max(FIRST_HOST_PORT);
        for ports in &state.resets {
            board.refuse(*ports);
        }
        for (ports, connection) in &state.connections {
            board.reconnect(*ports, connection);
        }
        Ok(())
    }
}
