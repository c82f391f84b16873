//! The socket on which processes other than the creator ask for something, one at a
//! time.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, connect, listen,
    socket,
};

use super::channel::Channel;
use super::config::files;

/// The listening socket, and who called.
#[derive(Debug)]
pub struct Control {
    listener: OwnedFd,
    caller: Option<Channel>,
}

impl Control {
    /// Listens in the directory of a sandbox.
    pub fn listen(state_dir: &Path) -> io::Result<Self> {
        let listener = make(SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)?;
        bind(listener.as_raw_fd(), &address(state_dir)?)?;
        listen(&listener, Backlog::new(1)?)?;
        Ok(Self { listener, caller: None })
    }

    /// Has `epoll` tell of callers by `new`, and of what the present one says by
    /// `token`.
    pub fn watch(&self, epoll: &Epoll, new: u64) -> nix::Result<()> {
        epoll.add(self.listener.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, new))
    }

    /// Takes a call, in place of the one before.
    pub fn accept(&mut self, epoll: &Epoll, token: u64) {
        let Some(caller) = self.take_call() else { return };
        let event = EpollEvent::new(EpollFlags::EPOLLIN, token);
        // Its descriptor leaves the set with the last caller.
        self.caller = None;
        self.caller = epoll.add(&caller, event).is_ok().then(|| Channel::from_fd(caller));
    }

    /// Waits for the next caller.
    pub fn next_caller(&self) -> io::Result<Channel> {
        let mut fds = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut fds, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => continue,
                other => other?,
            };
            // Who has hung up already is not there any more.
            if let Some(caller) = self.take_call() {
                return Ok(Channel::from_fd(caller));
            }
        }
    }

    fn take_call(&self) -> Option<OwnedFd> {
        let fd = accept4(self.listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC).ok()?;
        // SAFETY: the kernel has just returned this descriptor; nobody else owns it.
        Some(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Who called.
    pub fn caller(&self) -> Option<&Channel> {
        self.caller.as_ref()
    }

    /// Forgets who called.
    pub fn hang_up(&mut self) {
        self.caller = None;
    }
}

/// Calls the monitor of the sandbox in `state_dir`.
pub fn call(state_dir: &Path) -> io::Result<Channel> {
    let caller = make(SockFlag::SOCK_CLOEXEC)?;
    connect(caller.as_raw_fd(), &address(state_dir)?)?;
    Ok(Channel::from_fd(caller))
}

fn make(flags: SockFlag) -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?)
}

fn address(state_dir: &Path) -> io::Result<UnixAddr> {
    Ok(UnixAddr::new(&state_dir.join(files::CONTROL))?)
}
