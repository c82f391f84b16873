//! The Unix-socket calls the standard library does not have: without blocking,
//! with several buffers, without SIGPIPE.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

/// Connects without ever blocking: a listener whose queue is full refuses.
pub fn connect_now(path: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(fd.into())
}

/// Sends the pieces, as far as the socket takes them now.
pub fn send(stream: &UnixStream, pieces: &mut [libc::iovec]) -> io::Result<usize> {
    let message = message(pieces);
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    retry(|| {
        // SAFETY: the pieces are memory of ours or checked guest memory, alive for the
        // duration of the call.
        unsafe { libc::sendmsg(stream.as_raw_fd(), &raw const message, flags) }
    })
}

/// Receives into the pieces what is there now.
pub fn receive(stream: &UnixStream, pieces: &mut [libc::iovec]) -> io::Result<usize> {
    let mut message = message(pieces);
    retry(|| {
        // SAFETY: as for `send`; no control data is accepted, so no descriptor can
        // arrive.
        unsafe { libc::recvmsg(stream.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) }
    })
}

/// Looks at what is there without taking it.
pub fn peek(stream: &UnixStream, bytes: &mut [u8]) -> io::Result<usize> {
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    retry(|| {
        // SAFETY: `bytes` is valid for writes of its own length.
        unsafe { libc::recv(stream.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), flags) }
    })
}

fn message(pieces: &mut [libc::iovec]) -> libc::msghdr {
    // SAFETY: all zeroes is a valid msghdr: no name, no control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = pieces.as_mut_ptr();
    message.msg_iovlen = pieces.len();
    message
}

fn retry(mut call: impl FnMut() -> libc::ssize_t) -> io::Result<usize> {
    loop {
        if let Ok(done) = usize::try_from(call()) {
            return Ok(done);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
