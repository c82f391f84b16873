//! Sockets.

use core::ffi::c_int;
use core::mem::size_of;

use super::{Errno, Fd, Result, syscall};

const STREAM: c_int = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;

/// An unconnected vsock stream socket that does not block.
pub fn stream_vsock() -> Result<Fd> {
    // SAFETY: no memory is passed.
    Fd::returned(unsafe { syscall!(SYS_socket, libc::AF_VSOCK, STREAM, 0)? })
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "small constants of the kernel's interface"
)]
mod narrow {
    pub const FAMILY: libc::sa_family_t = libc::AF_VSOCK.cast_unsigned() as libc::sa_family_t;
    pub const INET: libc::sa_family_t = libc::AF_INET.cast_unsigned() as libc::sa_family_t;
    pub const IFF_UP: libc::c_short = libc::IFF_UP as libc::c_short;
    pub const INT_LEN: libc::socklen_t = size_of::<libc::c_int>() as libc::socklen_t;
}

fn vsock_address(cid: u32, port: u32) -> libc::sockaddr_vm {
    libc::sockaddr_vm {
        svm_family: narrow::FAMILY,
        svm_reserved1: 0,
        svm_port: port,
        svm_cid: cid,
        svm_zero: [0; 4],
    }
}

/// Begins to connect; the socket polls writable when that is over.
pub fn connect_vsock(socket: &Fd, cid: u32, port: u32) -> Result<()> {
    let address = vsock_address(cid, port);
    // SAFETY: `address` is valid for reads of its size.
    let done = unsafe {
        syscall!(SYS_connect, socket.raw(), &raw const address, size_of::<libc::sockaddr_vm>())
    };
    match done {
        Ok(_) | Err(Errno(libc::EINPROGRESS)) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// A socket that accepts vsock connections to `port`.
pub fn listen_vsock(port: u32) -> Result<Fd> {
    let socket = stream_vsock()?;
    let address = vsock_address(libc::VMADDR_CID_ANY, port);
    // SAFETY: `address` is valid for reads of its size.
    unsafe {
        syscall!(SYS_bind, socket.raw(), &raw const address, size_of::<libc::sockaddr_vm>())?;
        syscall!(SYS_listen, socket.raw(), 16)?;
    }
    Ok(socket)
}

/// The next connection, which does not block.
pub fn accept(listener: &Fd) -> Result<Fd> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: null pointers say that the address is not wanted.
    let fd = unsafe { syscall!(SYS_accept4, listener.raw(), 0_usize, 0_usize, flags)? };
    Fd::returned(fd)
}

/// The error that a connection attempt ended with.
pub fn pending_error(socket: &Fd) -> Result<()> {
    let mut error: c_int = 0;
    let mut len = narrow::INT_LEN;
    // SAFETY: `error` and `len` are valid for writes.
    unsafe {
        syscall!(
            SYS_getsockopt,
            socket.raw(),
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            &raw mut error,
            &raw mut len,
        )?;
    }
    if error == 0 { Ok(()) } else { Err(Errno(error)) }
}

/// Sends some of `bytes`.
pub fn send(socket: &Fd, bytes: &[u8]) -> Result<usize> {
    // SAFETY: `bytes` is valid for reads of its length; there is no address.
    unsafe {
        syscall!(
            SYS_sendto,
            socket.raw(),
            bytes.as_ptr(),
            bytes.len(),
            libc::MSG_NOSIGNAL,
            0_usize,
            0_usize,
        )
    }
}

/// How long a connection through the loopback interface may take, milliseconds: it is
/// made or refused at once, unless the listener's queue is full.
const CONNECT_WITHIN_MS: c_int = 20;

/// Whether somebody accepts TCP connections to `port` of the loopback interface. Who
/// does gets one, which is closed at once.
pub fn accepts_tcp(port: u16) -> Result<bool> {
    // SAFETY: no memory is passed.
    let socket = Fd::returned(unsafe { syscall!(SYS_socket, libc::AF_INET, STREAM, 0)? })?;
    let address = libc::sockaddr_in {
        sin_family: narrow::INET,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: libc::INADDR_LOOPBACK.to_be() },
        sin_zero: [0; 8],
    };
    // SAFETY: `address` is valid for reads of its size.
    let done = unsafe {
        syscall!(SYS_connect, socket.raw(), &raw const address, size_of::<libc::sockaddr_in>())
    };
    let outcome = match done {
        Err(Errno(libc::EINPROGRESS)) => {
            let writable = libc::pollfd { fd: socket.raw(), events: libc::POLLOUT, revents: 0 };
            if !super::poll(&mut [writable], CONNECT_WITHIN_MS)? {
                return Ok(false);
            }
            pending_error(&socket)
        }
        other => other.map(drop),
    };
    match outcome {
        Err(Errno(libc::ECONNREFUSED)) => Ok(false),
        other => other.map(|()| true),
    }
}

/// Brings up the loopback interface; the kernel gives it its address.
pub fn loopback_up() -> Result<()> {
    // SAFETY: no memory is passed.
    let socket = unsafe { syscall!(SYS_socket, libc::AF_INET, libc::SOCK_DGRAM, 0)? };
    let socket = Fd::returned(socket)?;
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: narrow::IFF_UP },
    };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    // SAFETY: `request` is a valid ifreq with its flags set.
    unsafe { syscall!(SYS_ioctl, socket.raw(), libc::SIOCSIFFLAGS, &raw const request)? };
    Ok(())
}
