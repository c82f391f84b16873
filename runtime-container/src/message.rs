//! The conversation between parent and child: one datagram per message over a
//! `SOCK_SEQPACKET` pair.
//!
//! Success of `execve` is the end of the conversation: the child's end is
//! close-on-exec, so the parent reads end-of-file.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use bulkhead_runtime::{Instant, Lifetime};

use crate::sys::{self, Errno};

/// What the child tells the parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    /// Set up; waiting for [`Order::Start`].
    Ready { rootfs: Instant, created: Instant },
    /// This step of the set-up failed.
    SetupFailed { step: usize, errno: i32 },
    /// This step after the start order failed.
    LaunchFailed { step: usize, errno: i32 },
    /// The command could not be executed.
    ExecFailed { errno: i32 },
    /// The child itself could not be made.
    NotMade { errno: i32 },
}

/// What the parent tells the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// The user namespace has its mappings.
    Mapped,
    /// Become the workload.
    Start,
}

const LENGTH: usize = 24;

impl Message {
    fn encode(self) -> [u8; LENGTH] {
        let (tag, first, second) = match self {
            Self::Ready { rootfs, created } => (0_u64, rootfs.as_nanos(), created.as_nanos()),
            Self::SetupFailed { step, errno } => {
                (1, step as u64, u64::from(errno.cast_unsigned()))
            }
            Self::LaunchFailed { step, errno } => {
                (2, step as u64, u64::from(errno.cast_unsigned()))
            }
            Self::ExecFailed { errno } => (3, 0, u64::from(errno.cast_unsigned())),
            Self::NotMade { errno } => (4, 0, u64::from(errno.cast_unsigned())),
        };
        let mut bytes = [0; LENGTH];
        bytes[..8].copy_from_slice(&tag.to_ne_bytes());
        bytes[8..16].copy_from_slice(&first.to_ne_bytes());
        bytes[16..].copy_from_slice(&second.to_ne_bytes());
        bytes
    }

    fn decode(bytes: [u8; LENGTH]) -> Option<Self> {
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_ne_bytes(word)
        };
        let step = usize::try_from(word(8)).ok()?;
        let errno = i32::try_from(word(16)).ok();
        Some(match word(0) {
            0 => Self::Ready {
                rootfs: Instant::from_nanos(word(8)),
                created: Instant::from_nanos(word(16)),
            },
            1 => Self::SetupFailed { step, errno: errno? },
            2 => Self::LaunchFailed { step, errno: errno? },
            3 => Self::ExecFailed { errno: errno? },
            4 => Self::NotMade { errno: errno? },
            _ => return None,
        })
    }

    /// Sends it; only raw system calls.
    pub(crate) fn send(self, socket: RawFd) -> Result<(), Errno> {
        sys::send(socket, &self.encode()).map(drop)
    }

    /// Receives the next one; `None` when the other end is closed.
    pub(crate) fn receive(socket: RawFd) -> Result<Option<Self>, Errno> {
        let mut bytes = [0; LENGTH];
        loop {
            match sys::read(socket, &mut bytes) {
                // Reset: a child that was killed with an unread order in its queue.
                Ok(0) | Err(Errno(libc::ECONNRESET)) => return Ok(None),
                Ok(LENGTH) => return Self::decode(bytes).map(Some).ok_or(Errno(libc::EPROTO)),
                Ok(_) => return Err(Errno(libc::EPROTO)),
                Err(Errno(libc::EINTR)) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

impl Order {
    /// Sends it, and a copy of `terminal`.
    pub(crate) fn send(self, socket: RawFd, terminal: Option<RawFd>) -> Result<(), Errno> {
        let byte = match self {
            Self::Mapped => b'm',
            Self::Start => b's',
        };
        sys::send_with(socket, &[byte], terminal.as_slice())
    }

    /// Waits for one; only raw system calls. With the order to start may come a terminal
    /// to be used as the standard streams.
    pub(crate) fn receive(socket: RawFd) -> Result<(Self, Option<RawFd>), Errno> {
        let mut byte = [0];
        let (_, [fd, ..]) = sys::receive_with(socket, &mut byte)?;
        let terminal = (fd >= 0).then_some(fd);
        match byte[0] {
            b'm' => Ok((Self::Mapped, terminal)),
            b's' => Ok((Self::Start, terminal)),
            // Zero: the parent's end was closed.
            _ => Err(Errno(libc::EPIPE)),
        }
    }
}

/// What the keeper of a container tells whoever takes it, beside the descriptors of
/// the conversation with its first process, of its lock, and of that process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The container's first process.
    pub pid: i32,
    /// The keeper.
    pub keeper: i32,
}

impl Taken {
    /// Sends it; only raw system calls.
    pub(crate) fn send(self, socket: RawFd, fds: [RawFd; 3]) -> Result<(), Errno> {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&self.pid.to_ne_bytes());
        bytes[4..].copy_from_slice(&self.keeper.to_ne_bytes());
        sys::send_with(socket, &bytes, &fds)
    }

    /// Waits for it; `None` when the keeper is gone.
    pub(crate) fn receive(socket: &OwnedFd) -> Result<Option<(Self, [OwnedFd; 3])>, Errno> {
        let mut bytes = [0; 8];
        let (len, fds) = match sys::receive_with(socket.as_raw_fd(), &mut bytes) {
            Err(Errno(libc::ECONNRESET)) => return Ok(None),
            other => other?,
        };
        let [conversation, lock, process, _] = fds.map(|fd| {
            // SAFETY: the kernel has just made it for us.
            (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
        });
        let [low, high] = [0, 4].map(|at| {
            let mut number = [0; 4];
            number.copy_from_slice(&bytes[at..at + 4]);
            i32::from_ne_bytes(number)
        });
        match (len, conversation, lock, process) {
            (0, ..) => Ok(None),
            (8, Some(conversation), Some(lock), Some(process)) => {
                let taken = Self { pid: low, keeper: high };
                Ok(Some((taken, [conversation, lock, process])))
            }
            _ => Err(Errno(libc::EPROTO)),
        }
    }
}

/// Tells a keeper how long the container is to live.
pub(crate) fn send_lifetime(socket: RawFd, lifetime: Lifetime) -> Result<(), Errno> {
    let byte = match lifetime {
        Lifetime::Attached => b'a',
        Lifetime::Detached => b'd',
    };
    sys::send(socket, &[byte]).map(drop)
}

/// Waits for [`send_lifetime`]; only raw system calls.
pub(crate) fn receive_lifetime(socket: RawFd) -> Result<Lifetime, Errno> {
    let mut byte = [0];
    sys::read(socket, &mut byte)?;
    match byte[0] {
        b'a' => Ok(Lifetime::Attached),
        b'd' => Ok(Lifetime::Detached),
        // Zero: the caller is gone.
        _ => Err(Errno(libc::EPIPE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire() {
        let all = [
            Message::Ready { rootfs: Instant::from_nanos(7), created: Instant::from_nanos(9) },
            Message::SetupFailed { step: 3, errno: libc::EPERM },
            Message::LaunchFailed { step: 0, errno: libc::EINVAL },
            Message::ExecFailed { errno: libc::ENOENT },
            Message::NotMade { errno: libc::EAGAIN },
        ];
        for message in all {
            assert_eq!(Message::decode(message.encode()), Some(message));
        }
        assert_eq!(Message::decode([0xff; LENGTH]), None);
    }

    #[test]
    fn a_closed_end_is_the_end_of_the_conversation() {
        use std::os::fd::AsRawFd;
        let (ours, theirs) = std::os::unix::net::UnixDatagram::pair().unwrap();
        Order::Start.send(ours.as_raw_fd(), None).unwrap();
        assert_eq!(Order::receive(theirs.as_raw_fd()), Ok((Order::Start, None)));
        Order::Start.send(ours.as_raw_fd(), Some(ours.as_raw_fd())).unwrap();
        let (order, terminal) = Order::receive(theirs.as_raw_fd()).unwrap();
        assert_eq!((order, terminal.is_some()), (Order::Start, true));
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        drop(theirs);
        assert_eq!(Message::receive(ours.as_raw_fd()), Ok(None));
    }
}
