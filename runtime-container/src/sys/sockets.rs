//! Sockets: waiting for them, and descriptors sent over them.

use std::os::fd::RawFd;

use super::{Errno, Result, reg, syscall};

/// Most descriptors in one message.
pub(crate) const MAX_SENT: usize = 4;

/// Room for a `struct cmsghdr` and [`MAX_SENT`] descriptors, aligned as the kernel
/// wants it (cmsg(3)).
type Control = [usize; 4];

/// `sizeof(struct cmsghdr)`: its data begin right behind it, both being aligned to a
/// register.
const HEADER: usize = size_of::<libc::cmsghdr>();

const _: () = assert!(HEADER == 2 * size_of::<usize>());
const _: () = assert!(HEADER + MAX_SENT * size_of::<RawFd>() == size_of::<Control>());

/// `SOL_SOCKET` and `SCM_RIGHTS` as they lie in a `struct cmsghdr`.
fn rights() -> usize {
    reg(libc::SOL_SOCKET) | reg(libc::SCM_RIGHTS) << 32
}

/// Waits until one of `fds` is readable or closed at its other end, and tells which.
pub(crate) fn poll<const N: usize>(fds: [RawFd; N]) -> Result<[bool; N]> {
    let mut polled = fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    // SAFETY: an array of that many pollfds; no end of the wait is given.
    unsafe { call!(SYS_poll, polled.as_mut_ptr().addr(), N, reg(-1)) }?;
    Ok(polled.map(|polled| polled.revents != 0))
}

/// Takes a connection, close-on-exec.
pub(crate) fn accept(listener: RawFd) -> Result<RawFd> {
    // SAFETY: the address is not asked for.
    let fd = unsafe { call!(SYS_accept4, reg(listener), 0, 0, reg(libc::SOCK_CLOEXEC)) }?;
    Ok(RawFd::try_from(fd).unwrap_or(-1))
}

/// Sends `data`, which is not empty, and copies of `fds`.
pub(crate) fn send_with(socket: RawFd, data: &[u8], fds: &[RawFd]) -> Result<()> {
    if fds.len() > MAX_SENT {
        return Err(Errno(libc::EINVAL));
    }
    let mut control: Control = [0; 4];
    control[0] = HEADER + size_of_val(fds);
    control[1] = rights();
    for (index, fd) in fds.iter().enumerate() {
        let bits = usize::try_from(fd.cast_unsigned()).unwrap_or(usize::MAX);
        control[2 + index / 2] |= bits << (32 * (index % 2));
    }
    let mut part =
        libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    let message = header(&mut part, &mut control, HEADER + size_of_val(fds));
    let address = std::ptr::from_ref(&message).addr();
    // SAFETY: the message names `data`, which is only read, and `control`, which holds
    // one header with that many descriptors.
    unsafe { call!(SYS_sendmsg, reg(socket), address, reg(libc::MSG_NOSIGNAL)) }.map(drop)
}

/// Receives data and the descriptors beside them, close-on-exec; -1 in the place of
/// those that did not come. No data are the end of the conversation.
pub(crate) fn receive_with(
    socket: RawFd,
    data: &mut [u8],
) -> Result<(usize, [RawFd; MAX_SENT])> {
    let mut control: Control = [0; 4];
    let mut part = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
    let mut message = header(&mut part, &mut control, size_of::<Control>());
    let address = std::ptr::from_mut(&mut message).addr();
    let flags = reg(libc::MSG_CMSG_CLOEXEC);
    let len = loop {
        // SAFETY: the message names `data` and `control`, valid for writes of the
        // lengths it says.
        match unsafe { call!(SYS_recvmsg, reg(socket), address, flags) } {
            Err(Errno(libc::EINTR)) => {}
            other => break other?,
        }
    };
    let mut fds = [-1; MAX_SENT];
    if message.msg_controllen >= HEADER && control[1] == rights() {
        let count = control[0].saturating_sub(HEADER) / size_of::<RawFd>();
        for (index, fd) in fds.iter_mut().take(count).enumerate() {
            let bits = control[2 + index / 2] >> (32 * (index % 2)) & 0xffff_ffff;
            *fd = RawFd::try_from(bits).unwrap_or(-1);
        }
    }
    Ok((len, fds))
}

fn header(part: &mut libc::iovec, control: &mut Control, used: usize) -> libc::msghdr {
    // SAFETY: a msghdr is plain data for which zero means "none".
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = used;
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::{AsRawFd, FromRawFd};
    use std::os::unix::net::UnixStream;

    #[test]
    fn descriptors_arrive_in_order() {
        for count in 0..=MAX_SENT {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let (mut readers, writers): (Vec<_>, Vec<_>) =
                (0..count).map(|_| std::io::pipe().unwrap()).unzip();
            let fds: Vec<RawFd> = writers.iter().map(AsRawFd::as_raw_fd).collect();
            send_with(ours.as_raw_fd(), b"x", &fds).unwrap();
            drop(writers);
            let mut data = [0; 8];
            let (len, fds) = receive_with(theirs.as_raw_fd(), &mut data).unwrap();
            assert_eq!((len, data[0]), (1, b'x'));
            for (index, fd) in fds.into_iter().enumerate() {
                assert_eq!(fd >= 0, index < count);
                if fd >= 0 {
                    // SAFETY: the kernel has just made it for us.
                    let mut copy = unsafe { std::fs::File::from_raw_fd(fd) };
                    write!(copy, "{index}").unwrap();
                }
            }
            for (index, reader) in readers.iter_mut().enumerate() {
                let mut text = String::new();
                reader.read_to_string(&mut text).unwrap();
                assert_eq!(text, index.to_string());
            }
            drop(ours);
            assert_eq!(receive_with(theirs.as_raw_fd(), &mut data).unwrap().0, 0);
        }
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert!(send_with(ours.as_raw_fd(), b"x", &[0; MAX_SENT + 1]).is_err());
    }

    #[test]
    fn only_what_is_readable_is_told() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let (quiet, _open) = UnixStream::pair().unwrap();
        ours.write_all(b"x").unwrap();
        assert_eq!(poll([quiet.as_raw_fd(), theirs.as_raw_fd()]), Ok([false, true]));
    }
}
