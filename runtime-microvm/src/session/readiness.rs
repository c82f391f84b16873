//! One descriptor that polls readable whenever a session has something to do.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::SessionError;

/// Places in the set.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Socket,
    Stdin,
    Stdout,
    Stderr,
}

/// An epoll instance over the descriptors of a session.
#[derive(Debug)]
pub(super) struct Readiness {
    epoll: Epoll,
    /// Readable while there is something to do that no descriptor tells.
    flag: EventFd,
    raised: bool,
    registered: [Option<(RawFd, EpollFlags)>; 4],
}

impl Readiness {
    pub(super) fn new() -> Result<Self, SessionError> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(SessionError::io("make an epoll instance"))?;
        let flag = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(SessionError::io("make an eventfd"))?;
        epoll
            .add(&flag, EpollEvent::new(EpollFlags::EPOLLIN, 0))
            .map_err(SessionError::io("wait for an eventfd"))?;
        Ok(Self { epoll, flag, raised: false, registered: [None; 4] })
    }

    /// The one descriptor.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    /// Makes it readable, or no longer, of its own accord.
    pub(super) fn raise(&mut self, raised: bool) -> Result<(), SessionError> {
        if self.raised == raised {
            return Ok(());
        }
        self.raised = raised;
        let done =
            if raised { self.flag.write(1).map(drop) } else { self.flag.read().map(drop) };
        done.map_err(SessionError::io("use an eventfd"))
    }

    /// Waits for `events` of `fd` at `place`; with no descriptor, for nothing.
    ///
    /// A regular file cannot be waited for and need not be: it never makes
    /// anyone wait.
    pub(super) fn set(
        &mut self,
        place: Place,
        fd: Option<BorrowedFd<'_>>,
        events: EpollFlags,
    ) -> Result<(), SessionError> {
        let wanted = fd.map(|fd| (fd.as_raw_fd(), events));
        let registered = &mut self.registered[place as usize];
        if *registered == wanted {
            return Ok(());
        }
        let done = match (registered.take(), fd) {
            (None, Some(fd)) => self.epoll.add(fd, EpollEvent::new(events, 0)),
            (Some((old, _)), Some(fd)) if old == fd.as_raw_fd() => {
                self.epoll.modify(fd, &mut EpollEvent::new(events, 0))
            }
            (Some((old, _)), fd) => {
                self.forget(old);
                fd.map_or(Ok(()), |fd| self.epoll.add(fd, EpollEvent::new(events, 0)))
            }
            (None, None) => Ok(()),
        };
        match done {
            Ok(()) => self.registered[place as usize] = wanted,
            // Not a kind of file that makes anyone wait.
            Err(Errno::EPERM) => {}
            Err(errno) => return Err(SessionError::io("wait for a stream")(errno)),
        }
        Ok(())
    }

    /// Takes a descriptor out, which may have been closed meanwhile.
    fn forget(&self, fd: RawFd) {
        // SAFETY: the number is passed to the kernel only, which refuses it when
        // it is not (or no longer) in the set.
        let _ = self.epoll.delete(unsafe { BorrowedFd::borrow_raw(fd) });
    }
}
