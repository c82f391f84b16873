//! The host's side of the card: a tap device that somebody else has made.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use super::{HEADER_LEN, feature};

/// What a tap has to be: frames without the kernel's own header, with virtio's.
const WANTED: libc::c_int = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;

/// A descriptor that is no use as a tap.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// It is none.
    #[error("the network card's descriptor is not a tap device's")]
    NotATap(#[source] io::Error),
    /// It is of the wrong kind.
    #[error(
        "the tap device {name} has the flags {flags:#x} instead of IFF_TAP, IFF_NO_PI and \
         IFF_VNET_HDR"
    )]
    WrongKind {
        /// What it is called.
        name: String,
        /// Its flags.
        flags: libc::c_int,
    },
    /// It cannot be set up.
    #[error("cannot set up the tap device")]
    SetUp(#[source] io::Error),
    /// It cannot be watched.
    #[error("cannot watch the tap device")]
    Watch(#[source] io::Error),
}

/// A tap device and what is waited for on it.
#[derive(Debug)]
pub struct Tap {
    fd: OwnedFd,
    epoll: Arc<Epoll>,
    token: u64,
    interest: EpollFlags,
}

impl Tap {
    /// The tap behind `fd`. `epoll` tells of it by `token`.
    ///
    /// # Errors
    ///
    /// [`TapError`].
    pub fn new(fd: OwnedFd, epoll: Arc<Epoll>, token: u64) -> Result<Self, TapError> {
        check(&fd)?;
        let header = libc::c_int::try_from(HEADER_LEN).unwrap_or_default();
        // SAFETY: the argument points to an int, as this request wants
        // (linux/if_tun.h).
        let set =
            unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const header) };
        if set != 0 {
            return Err(TapError::SetUp(io::Error::last_os_error()));
        }
        Self::over(fd, epoll, token)
    }

    /// As [`Tap::new`], over whatever keeps frames apart.
    pub(super) fn over(fd: OwnedFd, epoll: Arc<Epoll>, token: u64) -> Result<Self, TapError> {
        use nix::fcntl::{FcntlArg, OFlag, fcntl};
        let set_up = |errno: nix::errno::Errno| TapError::SetUp(errno.into());
        let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL).map_err(set_up)?);
        fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map_err(set_up)?;
        let interest = EpollFlags::EPOLLIN;
        epoll
            .add(fd.as_fd(), EpollEvent::new(interest, token))
            .map_err(|errno| TapError::Watch(errno.into()))?;
        Ok(Self { fd, epoll, token, interest })
    }

    /// Has the host leave to the guest what its driver takes. What this does not reach
    /// the host does itself, as for any other card.
    pub fn offload(&self, features: u64) {
        let taken = [
            (feature::GUEST_CSUM, libc::TUN_F_CSUM),
            (feature::GUEST_TSO4, libc::TUN_F_TSO4),
            (feature::GUEST_TSO6, libc::TUN_F_TSO6),
        ];
        let flags = taken
            .into_iter()
            .filter(|(feature, _)| features & feature != 0)
            .fold(0, |flags, (_, flag)| flags | flag);
        // SAFETY: the argument is a number (drivers/net/tun.c).
        unsafe {
            libc::ioctl(self.fd.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(flags))
        };
    }

    /// Waits for these from here on.
    pub fn wait_for(&mut self, interest: EpollFlags) {
        if interest == self.interest {
            return;
        }
        let mut event = EpollEvent::new(interest, self.token);
        // It is in the set, and no memory is needed: this does not fail.
        if self.epoll.modify(self.fd.as_fd(), &mut event).is_ok() {
            self.interest = interest;
        }
    }

    /// Sends one frame with its header.
    pub fn write(&self, frame: &[libc::iovec]) -> io::Result<usize> {
        // SAFETY: the pieces are guest memory that is mapped as long as the chain they
        // come from, or memory of ours; nobody relies on what is in them.
        again(|len| unsafe { libc::writev(self.fd.as_raw_fd(), frame.as_ptr(), len) }, frame)
    }

    /// Receives one frame with its header; what does not fit is lost.
    pub fn read(&self, frame: &[libc::iovec]) -> io::Result<usize> {
        // SAFETY: as above, and the guest lets its pieces be written.
        again(|len| unsafe { libc::readv(self.fd.as_raw_fd(), frame.as_ptr(), len) }, frame)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        // Others may hold the tap open, so that it would stay in the set.
        let _ = self.epoll.delete(self.fd.as_fd());
    }
}

/// Whether `fd` is a tap of the kind we need.
fn check(fd: &OwnedFd) -> Result<(), TapError> {
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: 0 },
    };
    // SAFETY: the argument points to an ifreq, as this request wants.
    let got = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETIFF, &raw mut request) };
    if got != 0 {
        return Err(TapError::NotATap(io::Error::last_os_error()));
    }
    // SAFETY: the kernel has filled in the flags; any bits are a number.
    let flags = libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags });
    if flags & WANTED == WANTED {
        return Ok(());
    }
    let name = request.ifr_name.iter().take_while(|byte| **byte != 0);
    let name: Vec<u8> = name.map(|byte| byte.cast_unsigned()).collect();
    Err(TapError::WrongKind { name: String::from_utf8_lossy(&name).into_owned(), flags })
}

/// Makes a vectored call over `frame`, again after a signal.
fn again(
    call: impl Fn(libc::c_int) -> libc::ssize_t,
    frame: &[libc::iovec],
) -> io::Result<usize> {
    let len = libc::c_int::try_from(frame.len()).unwrap_or(libc::c_int::MAX);
    loop {
        match usize::try_from(call(len)) {
            Ok(len) => return Ok(len),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::epoll::EpollCreateFlags;

    #[test]
    fn what_is_no_tap_is_refused() {
        let epoll = Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap());
        let file: OwnedFd = tempfile::tempfile().unwrap().into();
        let error = Tap::new(file, epoll, 7).unwrap_err();
        assert!(matches!(error, TapError::NotATap(_)), "{error:?}");
    }
}
