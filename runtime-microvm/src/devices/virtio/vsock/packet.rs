//! The packet header (virtio 1.2, section 5.10.6).

use serde::{Deserialize, Serialize};

use super::{GUEST_CID, HOST_CID};

/// Length of a header, bytes.
pub const HEADER_LEN: usize = 44;
/// `VIRTIO_VSOCK_TYPE_STREAM`.
pub const TYPE_STREAM: u16 = 1;
/// `VIRTIO_VSOCK_SHUTDOWN_RCV`: the sender will receive no more.
pub const SHUTDOWN_RECEIVE: u32 = 1;
/// `VIRTIO_VSOCK_SHUTDOWN_SEND`: the sender will send no more.
pub const SHUTDOWN_SEND: u32 = 2;

/// What a packet is for (`VIRTIO_VSOCK_OP_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Op {
    /// Asks for a connection.
    Request = 1,
    /// Accepts it.
    Response = 2,
    /// Refuses or breaks it.
    Reset = 3,
    /// Closes one or both directions.
    Shutdown = 4,
    /// Carries data.
    Data = 5,
    /// Tells how much may be sent.
    CreditUpdate = 6,
    /// Asks how much may be sent.
    CreditRequest = 7,
}

impl Op {
    fn from_wire(value: u16) -> Option<Self> {
        [
            Self::Request,
            Self::Response,
            Self::Reset,
            Self::Shutdown,
            Self::Data,
            Self::CreditUpdate,
            Self::CreditRequest,
        ]
        .into_iter()
        .find(|op| *op as u16 == value)
    }
}

/// A connection's name: both its ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ports {
    /// On the host.
    pub host: u32,
    /// In the guest.
    pub guest: u32,
}

/// A packet header from the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FromGuest {
    /// The connection.
    pub ports: Ports,
    /// What it is for; `None` for what we do not know.
    pub op: Option<Op>,
    /// From and to the ends we know, and a stream.
    pub addressed: bool,
    /// Length of the payload.
    pub len: u32,
    /// Flags of [`Op::Shutdown`].
    pub flags: u32,
    /// Size of the guest's receive buffer.
    pub buf_alloc: u32,
    /// Bytes the guest has taken out of it.
    pub fwd_cnt: u32,
}

impl FromGuest {
    /// Parses a header.
    #[must_use]
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Self {
        let u64_at =
            |at: usize| u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32;
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        Self {
            ports: Ports { guest: u32_at(bytes, 16), host: u32_at(bytes, 20) },
            len: u32_at(bytes, 24),
            addressed: u64_at(0) == GUEST_CID
                && u64_at(8) == HOST_CID
                && u16_at(28) == TYPE_STREAM,
            op: Op::from_wire(u16_at(30)),
            flags: u32_at(bytes, 32),
            buf_alloc: u32_at(bytes, 36),
            fwd_cnt: u32_at(bytes, 40),
        }
    }
}

fn u32_at(bytes: &[u8; HEADER_LEN], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// A packet header to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToGuest {
    /// The connection.
    pub ports: Ports,
    /// What it is for.
    pub op: Op,
    /// Length of the payload.
    pub len: u32,
    /// Flags of [`Op::Shutdown`].
    pub flags: u32,
    /// Bytes handed on to the host process.
    pub fwd_cnt: u32,
}

impl ToGuest {
    /// As it goes over the queue.
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let mut put = |at: usize, value: &[u8]| {
            bytes[at..at + value.len()].copy_from_slice(value);
        };
        put(0, &HOST_CID.to_le_bytes());
        put(8, &GUEST_CID.to_le_bytes());
        put(16, &self.ports.host.to_le_bytes());
        put(20, &self.ports.guest.to_le_bytes());
        put(24, &self.len.to_le_bytes());
        put(28, &TYPE_STREAM.to_le_bytes());
        put(30, &(self.op as u16).to_le_bytes());
        put(32, &self.flags.to_le_bytes());
        put(36, &super::CREDIT.to_le_bytes());
        put(40, &self.fwd_cnt.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_the_layout_of_the_specification() {
        let sent = ToGuest {
            ports: Ports { host: 1024, guest: 7 },
            op: Op::Data,
            len: 3,
            flags: 0,
            fwd_cnt: 9,
        };
        let mut bytes = sent.to_bytes();
        assert_eq!(
            bytes[..24],
            [2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 7, 0, 0, 0]
        );
        assert_eq!(bytes[24..32], [3, 0, 0, 0, 1, 0, 5, 0]);
        // The same header with its ends exchanged comes from the guest.
        bytes.copy_within(8..16, 0);
        bytes[8] = 2;
        let parsed = FromGuest::parse(&bytes);
        assert!(parsed.addressed);
        assert_eq!((parsed.op, parsed.len, parsed.fwd_cnt), (Some(Op::Data), 3, 9));
        assert_eq!(parsed.ports, Ports { guest: 1024, host: 7 });
        bytes[30] = 99;
        assert_eq!(FromGuest::parse(&bytes).op, None);
    }
}
