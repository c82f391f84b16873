//! Messages between the monitor and the process that started it, over a
//! sequenced-packet socket pair: JSON, and descriptors beside it.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest message, bytes: a failure with its console lines.
const MAX_MESSAGE: usize = 64 << 10;
/// Most descriptors beside a message.
const MAX_FDS: usize = 8;

/// One end.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// A connected pair; both ends are closed on exec.
    ///
    /// # Errors
    ///
    /// When no descriptor is left.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let kind = SockType::SeqPacket;
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Self(ours), theirs))
    }

    /// The end that was passed as a descriptor.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Sends `message` and duplicates of `fds`.
    ///
    /// # Errors
    ///
    /// When the other end is gone, or the message is too long.
    pub fn send(&self, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        if bytes.len() > MAX_MESSAGE || fds.len() > MAX_FDS {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() { &rights[..0] } else { &rights[..] };
        let data = [IoSlice::new(&bytes)];
        sendmsg::<()>(self.0.as_raw_fd(), &data, control, MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }

    /// Receives the next message; `None` when the other end is gone.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] without `wait` when there is none, or when
    /// it is not one of ours.
    pub fn receive<T: DeserializeOwned>(
        &self,
        wait: bool,
    ) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut bytes = vec![0; MAX_MESSAGE];
        let mut data = [IoSliceMut::new(&mut bytes)];
        let mut control = cmsg_space!([RawFd; MAX_FDS]);
        let mut flags = MsgFlags::MSG_CMSG_CLOEXEC;
        flags.set(MsgFlags::MSG_DONTWAIT, !wait);
        let received = loop {
            match recvmsg::<()>(self.0.as_raw_fd(), &mut data, Some(&mut control), flags) {
                Err(nix::errno::Errno::EINTR) => {}
                // The other end was closed with unread messages of ours in it.
                Err(nix::errno::Errno::ECONNRESET) => return Ok(None),
                other => break other?,
            }
        };
        let mut fds = Vec::new();
        for message in received.cmsgs()? {
            if let ControlMessageOwned::ScmRights(raw) = message {
                // SAFETY: the kernel has just made these descriptors for us.
                fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        let len = received.bytes;
        if len == 0 {
            return Ok(None);
        }
        Ok(Some((serde_json::from_slice(&bytes[..len])?, fds)))
    }
}

impl Channel {
    /// The process that listened where this channel was connected to.
    ///
    /// # Errors
    ///
    /// When the kernel does not say.
    pub fn listener_pid(&self) -> io::Result<i32> {
        use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
        Ok(getsockopt(&self.0, PeerCredentials)?.pid())
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_descriptors_arrive_and_the_end_is_seen() {
        let (ours, theirs) = Channel::pair().unwrap();
        let theirs = Channel::from_fd(theirs);
        let empty = theirs.receive::<String>(false).unwrap_err();
        assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
        let file = tempfile::tempfile().unwrap();
        ours.send(&"hello", &[file.as_fd(), file.as_fd()]).unwrap();
        ours.send(&vec![1, 2], &[]).unwrap();
        let (text, fds): (String, _) = theirs.receive(true).unwrap().unwrap();
        assert_eq!((text.as_str(), fds.len()), ("hello", 2));
        let (numbers, fds): (Vec<i32>, _) = theirs.receive(true).unwrap().unwrap();
        assert_eq!((numbers, fds.len()), (vec![1, 2], 0));
        ours.send(&"not a number", &[]).unwrap();
        assert!(theirs.receive::<u32>(true).is_err());
        drop(ours);
        assert!(theirs.receive::<u32>(true).unwrap().is_none());
    }

    #[test]
    fn a_message_that_is_too_long_is_refused() {
        let (ours, _theirs) = Channel::pair().unwrap();
        assert!(ours.send(&"x".repeat(MAX_MESSAGE), &[]).is_err());
    }
}
