//! The host's ends of the workload's streams.
//!
//! The descriptors may be shared with anyone (a shell's terminal, a pipe of a
//! script), so they are never made non-blocking. Instead nothing is read or
//! written unless `poll` says that it will not wait, and no more is written at a
//! time than a pipe that polls writable takes at once.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use bulkhead_guest::protocol::{Credit, OUTPUT_WINDOW, Output, ProtocolError, STDIN_WINDOW};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// A pipe that polls writable takes this much without waiting (`PIPE_BUF`,
/// linux/limits.h).
const PIPE_BUF: usize = 4096;

/// Whether `events` or an end of `fd` is there now.
fn is_ready(fd: BorrowedFd<'_>, events: PollFlags) -> bool {
    let mut fds = [PollFd::new(fd, events)];
    // Regular files are always ready.
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|count| count > 0)
}

/// Whether `fd` is `/dev/null`, which has nothing to carry.
pub(super) fn is_null(fd: BorrowedFd<'_>) -> bool {
    nix::sys::stat::fstat(fd).is_ok_and(|stat| {
        stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == libc::makedev(1, 3)
    })
}

/// Where the workload's stdin comes from.
#[derive(Debug)]
pub(super) struct Source {
    file: Option<File>,
    credit: usize,
}

/// What a source came to.
pub(super) enum Taken {
    /// Nothing there now, or no room for it.
    Nothing,
    /// So many bytes at the start of the buffer.
    Bytes(usize),
    /// No more will come.
    Ended,
}

impl Source {
    pub(super) fn new(fd: OwnedFd) -> Self {
        let file = if is_null(fd.as_fd()) { None } else { Some(File::from(fd)) };
        Self { file, credit: STDIN_WINDOW }
    }

    /// Whether anything can come.
    pub(super) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// The descriptor to wait on, while the guest has room.
    pub(super) fn wanted(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().filter(|_| self.credit > 0).map(AsFd::as_fd)
    }

    /// The guest has room for more.
    pub(super) fn grant(&mut self, bytes: u32) {
        self.credit = self.credit.saturating_add(usize::try_from(bytes).unwrap_or(usize::MAX));
    }

    /// Nobody reads it any more.
    pub(super) fn close(&mut self) {
        self.file = None;
    }

    /// Takes what is there, as far as the guest has room.
    pub(super) fn take(&mut self, buffer: &mut [u8]) -> Taken {
        let most = self.credit.min(buffer.len());
        let Some(file) = self.file.as_mut().filter(|_| most > 0) else { return Taken::Nothing };
        if !is_ready(file.as_fd(), PollFlags::POLLIN) {
            return Taken::Nothing;
        }
        match file.read(&mut buffer[..most]) {
            Ok(count @ 1..) => {
                self.credit -= count;
                Taken::Bytes(count)
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                Taken::Nothing
            }
            // A terminal that has hung up reads as an error: an end as well.
            Ok(_) | Err(_) => {
                self.file = None;
                Taken::Ended
            }
        }
    }
}

/// Where one of the workload's outputs goes.
#[derive(Debug)]
pub(super) struct Sink {
    output: Output,
    /// Absent once nobody reads what is written.
    file: Option<File>,
    pending: Vec<u8>,
    written: usize,
    /// Bytes the guest may still send.
    window: usize,
    /// Bytes written and not granted again yet.
    freed: usize,
    /// The guest has not been told that nobody reads.
    untold: bool,
    /// Something came.
    received: bool,
}

impl Sink {
    /// Credit is granted in batches of this size: each costs the guest a wake-up.
    const BATCH: usize = OUTPUT_WINDOW / 2;

    pub(super) fn new(output: Output, fd: OwnedFd) -> Self {
        Self {
            output,
            file: Some(File::from(fd)),
            pending: Vec::new(),
            written: 0,
            window: OUTPUT_WINDOW,
            freed: 0,
            untold: false,
            received: false,
        }
    }

    /// The descriptor to wait on, when something is to be written.
    pub(super) fn wanted(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().filter(|_| !self.is_flushed()).map(AsFd::as_fd)
    }

    /// Whether everything that came has been written, or never can be.
    pub(super) fn is_flushed(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether anything came from the guest.
    pub(super) fn has_received(&self) -> bool {
        self.received
    }

    /// Takes `bytes` from the guest.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        self.received |= !bytes.is_empty();
        let exceeded = ProtocolError::WindowExceeded(self.output.kind());
        self.window = self.window.checked_sub(bytes.len()).ok_or(exceeded)?;
        if self.file.is_some() {
            // So that it never holds more than the window.
            self.pending.drain(..self.written);
            self.written = 0;
            self.pending.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Writes what will not wait. True when anything was.
    pub(super) fn carry(&mut self) -> bool {
        let before = self.freed;
        while let Some(file) = self.file.as_mut().filter(|_| self.written < self.pending.len())
        {
            if !is_ready(file.as_fd(), PollFlags::POLLOUT) {
                break;
            }
            let rest = &self.pending[self.written..];
            match file.write(&rest[..rest.len().min(PIPE_BUF)]) {
                Ok(count @ 1..) => {
                    self.written += count;
                    self.freed += count;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // EPIPE: the workload is to see what it would see with the pipe
                // in its own hands.
                Ok(_) | Err(_) => {
                    self.file = None;
                    self.untold = true;
                }
            }
        }
        if self.file.is_none() || self.written == self.pending.len() {
            self.pending.clear();
            self.written = 0;
        }
        self.freed > before
    }

    /// What the guest is to be granted, when it is worth a frame.
    pub(super) fn grant(&mut self) -> Option<Credit> {
        if self.freed < Self::BATCH {
            return None;
        }
        let bytes = u32::try_from(self.freed).ok()?;
        self.window += self.freed;
        self.freed = 0;
        Some(Credit { output: Some(self.output), bytes })
    }

    /// The output to close in the guest, once, when nobody reads it here.
    pub(super) fn take_closed(&mut self) -> Option<Output> {
        std::mem::take(&mut self.untold).then_some(self.output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_behind_a_slow_reader_holds_no_more_than_its_window() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut sink = Sink::new(Output::Stdout, writer.into());
        let mut allowed = OUTPUT_WINDOW;
        let (mut sent, mut received) = (0_usize, 0);
        let mut buffer = [0; 5000];
        while received < 8 * OUTPUT_WINDOW {
            let bytes = vec![u8::try_from(sent % 251).unwrap(); allowed.min(9000)];
            allowed -= bytes.len();
            sent += bytes.len();
            sink.push(&bytes).unwrap();
            sink.carry();
            if let Some(credit) = sink.grant() {
                allowed += usize::try_from(credit.bytes).unwrap();
            }
            assert!(sink.pending.len() <= OUTPUT_WINDOW);
            received += reader.read(&mut buffer).unwrap();
        }
        let too_much = vec![0; allowed + 1];
        assert!(sink.push(&too_much).is_err());
    }

    #[test]
    fn dev_null_has_nothing_to_carry() {
        let null = File::open("/dev/null").unwrap();
        assert!(is_null(null.as_fd()));
        assert!(!Source::new(null.into()).is_open());
        let zero = File::open("/dev/zero").unwrap();
        assert!(!is_null(zero.as_fd()));
    }
}
