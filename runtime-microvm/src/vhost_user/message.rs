//! The messages of vhost-user, in the kernel's byte order.

use std::fs::File;
use std::io::{self, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

/// Request numbers ("Front-end message types").
pub mod request {
    pub const GET_FEATURES: u32 = 1;
    pub const SET_FEATURES: u32 = 2;
    pub const SET_OWNER: u32 = 3;
    pub const SET_MEM_TABLE: u32 = 5;
    pub const SET_VRING_NUM: u32 = 8;
    pub const SET_VRING_ADDR: u32 = 9;
    pub const SET_VRING_BASE: u32 = 10;
    pub const GET_VRING_BASE: u32 = 11;
    pub const SET_VRING_KICK: u32 = 12;
    pub const SET_VRING_CALL: u32 = 13;
    pub const SET_VRING_ERR: u32 = 14;
    pub const GET_PROTOCOL_FEATURES: u32 = 15;
    pub const SET_PROTOCOL_FEATURES: u32 = 16;
    pub const GET_QUEUE_NUM: u32 = 17;
    pub const SET_VRING_ENABLE: u32 = 18;
    pub const GET_CONFIG: u32 = 24;
}

/// Flags of a message ("Header"): version 1, and what makes it a reply.
const VERSION: u32 = 1;
const REPLY: u32 = 1 << 2;
const NEED_REPLY: u32 = 1 << 3;

/// Longest payload: a memory table of eight regions is 264 bytes, a configuration
/// 268.
const MAX_PAYLOAD: usize = 512;
/// Most descriptors beside a message ("SET_MEM_TABLE").
const MAX_FDS: usize = 8;

/// A message of the monitor.
#[derive(Debug)]
pub struct Message {
    pub request: u32,
    pub needs_reply: bool,
    payload: Vec<u8>,
    pub files: Vec<File>,
}

impl Message {
    /// The next one; `None` when the monitor is gone.
    pub fn read(monitor: &mut UnixStream) -> io::Result<Option<Self>> {
        let mut header = [0; 12];
        let mut data = [IoSliceMut::new(&mut header)];
        let mut control = cmsg_space!([RawFd; MAX_FDS]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_WAITALL;
        let fd = monitor.as_raw_fd();
        let received = recvmsg::<()>(fd, &mut data, Some(&mut control), flags)?;
        let mut files = Vec::new();
        for message in received.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = message {
                // SAFETY: the kernel has just made these descriptors for us.
                files.extend(raw.into_iter().map(|fd| unsafe { File::from_raw_fd(fd) }));
            }
        }
        match received.bytes {
            0 => return Ok(None),
            12 => {}
            _ => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        let word = |at: usize| number32(&header, at);
        let (request, flags, len) = (word(0), word(4), word(8) as usize);
        if len > MAX_PAYLOAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut payload = vec![0; len];
        monitor.read_exact(&mut payload)?;
        Ok(Some(Self { request, needs_reply: flags & NEED_REPLY != 0, payload, files }))
    }

    /// The 32-bit number at `offset` of the payload; 0 behind its end.
    pub fn word(&self, offset: usize) -> u32 {
        number32(&self.payload, offset)
    }

    /// The 64-bit number at `offset` of the payload; 0 behind its end.
    pub fn long(&self, offset: usize) -> u64 {
        u64::from(self.word(offset)) | u64::from(self.word(offset + 4)) << 32
    }

    /// Answers it.
    pub fn reply(&self, monitor: &mut UnixStream, payload: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(12 + payload.len());
        let len = u32::try_from(payload.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        for word in [self.request, VERSION | REPLY, len] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(payload);
        monitor.write_all(&bytes)
    }
}

fn number32(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    u32::from_ne_bytes(word.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_and_is_answered() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let mut bytes = Vec::new();
        for word in [request::SET_VRING_NUM, VERSION | NEED_REPLY, 8, 1, 128] {
            bytes.extend(u32::to_ne_bytes(word));
        }
        ours.write_all(&bytes).unwrap();
        let message = Message::read(&mut theirs).unwrap().unwrap();
        assert_eq!((message.request, message.needs_reply), (request::SET_VRING_NUM, true));
        assert_eq!((message.word(0), message.word(4), message.long(8)), (1, 128, 0));
        message.reply(&mut theirs, &7_u64.to_ne_bytes()).unwrap();
        let mut answer = [0; 20];
        ours.read_exact(&mut answer).unwrap();
        assert_eq!(answer[4], 5);
        assert_eq!(answer[12], 7);
        drop(ours);
        assert!(Message::read(&mut theirs).unwrap().is_none());
    }

    #[test]
    fn what_is_too_long_or_cut_off_is_refused() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        for word in [1, VERSION, u32::MAX] {
            ours.write_all(&u32::to_ne_bytes(word)).unwrap();
        }
        assert!(Message::read(&mut theirs).is_err());
        ours.write_all(&[0; 5]).unwrap();
        drop(ours);
        assert!(Message::read(&mut theirs).is_err());
    }
}
