//! Waiting for descriptors.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Waits up to `timeout` (for ever when `None`) until one of `fds` is readable
/// or closed at its other end, and tells which. A signal ends the wait early
/// with none, so that the caller can look at its stop flag.
pub fn wait_readable<const N: usize>(
    fds: [Option<BorrowedFd<'_>>; N],
    timeout: Option<Duration>,
) -> io::Result<[bool; N]> {
    let mut polled: Vec<PollFd<'_>> =
        fds.iter().flatten().map(|&fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    // A time too long for the kernel is as good as for ever.
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match poll(&mut polled, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let mut ready = polled.iter().map(|fd| !fd.revents().is_empty());
    Ok(fds.map(|fd| fd.is_some() && ready.next().unwrap_or(false)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    #[test]
    fn tells_which_descriptor_is_readable() {
        let (quiet, _quiet_writer) = io::pipe().unwrap();
        let (ready, mut writer) = io::pipe().unwrap();
        let fds = [Some(quiet.as_fd()), None, Some(ready.as_fd())];
        assert_eq!(wait_readable(fds, Some(Duration::ZERO)).unwrap(), [false; 3]);
        writer.write_all(b"x").unwrap();
        assert_eq!(wait_readable(fds, None).unwrap(), [false, false, true]);
    }

    #[test]
    fn a_closed_pipe_is_readable() {
        let (reader, writer) = io::pipe().unwrap();
        drop(writer);
        assert_eq!(wait_readable([Some(reader.as_fd())], None).unwrap(), [true]);
    }
}
