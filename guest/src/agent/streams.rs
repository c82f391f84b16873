//! The bytes of one process: towards its stdin, from its outputs, out to the
//! host. Each is bounded, and each stops its source when it is full.

use alloc::vec::Vec;

use super::sys::{self, Errno, Fd};
use crate::protocol::{
    Credit, HEADER_LEN, Kind, MAX_DATA, OUTPUT_WINDOW, Output, ProtocolError, STDIN_WINDOW,
    put, stream_header,
};

/// Frames on their way to the host.
///
/// Output is taken from a pipe only while there is room; the few control frames
/// always fit, because the buffer may grow for them.
#[derive(Debug)]
pub struct Outbox {
    frames: Vec<u8>,
    sent: usize,
}

impl Outbox {
    /// Room for the largest stream frame and some control frames.
    const CAPACITY: usize = MAX_DATA + 1024;

    pub fn new() -> Self {
        Self { frames: Vec::with_capacity(Self::CAPACITY), sent: 0 }
    }

    /// Where to append whole frames.
    pub fn frames(&mut self) -> &mut Vec<u8> {
        &mut self.frames
    }

    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Payload bytes that a further stream frame may have.
    fn room(&self) -> usize {
        let spare =
            self.frames.capacity().min(Self::CAPACITY) - self.frames.len().min(Self::CAPACITY);
        spare.saturating_sub(HEADER_LEN).min(MAX_DATA)
    }

    /// Sends what the socket takes.
    pub fn flush(&mut self, socket: &Fd) -> sys::Result<()> {
        while self.sent < self.frames.len() {
            match sys::send(socket, &self.frames[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(Errno::AGAIN) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
        self.frames.clear();
        self.sent = 0;
        Ok(())
    }

    /// Appends a frame of up to `most` bytes read from `pipe`.
    fn append_from(&mut self, kind: Kind, pipe: &Fd, most: usize) -> sys::Result<usize> {
        let start = self.frames.len();
        self.frames.extend_from_slice(&[0; HEADER_LEN]);
        match sys::read_append(pipe, &mut self.frames, most) {
            Ok(count) if count > 0 => {
                let header = stream_header(kind, count);
                self.frames[start..start + HEADER_LEN].copy_from_slice(&header);
                Ok(count)
            }
            other => {
                self.frames.truncate(start);
                other
            }
        }
    }
}

/// One output of the process: a pipe that is read while the host has room.
#[derive(Debug)]
pub struct OutputPipe {
    output: Output,
    pipe: Option<Fd>,
    credit: usize,
    /// Bytes that may still be read after the process has ended.
    rest: usize,
}

impl OutputPipe {
    /// Most bytes read after the process ended. Its own are all in the pipe
    /// then (`/proc/sys/fs/pipe-max-size` is 1 MiB); more can only come from
    /// others that have inherited the pipe, and nobody waits for those.
    const REST: usize = 1024 * 1024;

    pub fn new(output: Output, pipe: Fd) -> sys::Result<Self> {
        sys::nonblocking(&pipe)?;
        Ok(Self { output, pipe: Some(pipe), credit: OUTPUT_WINDOW, rest: Self::REST })
    }

    /// One that has ended.
    pub fn closed(output: Output) -> Self {
        Self { output, pipe: None, credit: OUTPUT_WINDOW, rest: Self::REST }
    }

    /// The descriptor to wait on, when bytes could be carried.
    pub fn wanted(&self, outbox: &Outbox) -> Option<&Fd> {
        self.pipe.as_ref().filter(|_| self.credit > 0 && outbox.room() > 0)
    }

    /// The host has room for more.
    pub fn grant(&mut self, bytes: u32) {
        self.credit = self.credit.saturating_add(usize::try_from(bytes).unwrap_or(usize::MAX));
    }

    /// Nobody reads this output any more: the process gets `SIGPIPE`.
    pub fn close(&mut self) {
        self.pipe = None;
    }

    /// Carries one frame.
    pub fn carry(&mut self, outbox: &mut Outbox) {
        let most = self.credit.min(outbox.room());
        let Some(pipe) = self.pipe.as_ref().filter(|_| most > 0) else { return };
        match outbox.append_from(self.output.kind(), pipe, most) {
            Ok(0) => self.pipe = None,
            Ok(count) => self.credit -= count,
            // Nothing there.
            Err(Errno::AGAIN | Errno::INTR) => {}
            // EIO: nobody is at the terminal any more.
            Err(_) => self.pipe = None,
        }
    }

    /// Carries what is left of an ended process. True when that is all.
    pub fn drain(&mut self, outbox: &mut Outbox) -> bool {
        loop {
            let Some(pipe) = &self.pipe else { return true };
            let most = self.credit.min(outbox.room()).min(self.rest);
            if most == 0 {
                return self.rest == 0;
            }
            match outbox.append_from(self.output.kind(), pipe, most) {
                Ok(count) if count > 0 => {
                    self.credit -= count;
                    self.rest -= count;
                }
                _ => self.pipe = None,
            }
        }
    }
}

/// Stdin of the process: what its pipe has no room for waits here, within the
/// window the host knows of.
#[derive(Debug)]
pub struct StdinPipe {
    pipe: Option<Fd>,
    waiting: Vec<u8>,
    written: usize,
    ended: bool,
    /// Bytes the host may still send.
    window: usize,
    /// Bytes that went into the pipe and were not granted again yet.
    freed: usize,
}

impl StdinPipe {
    /// Credit is granted in batches of this size, so that short inputs cost none.
    const BATCH: usize = STDIN_WINDOW / 2;

    pub fn new(pipe: Option<Fd>) -> sys::Result<Self> {
        if let Some(pipe) = &pipe {
            sys::nonblocking(pipe)?;
        }
        Ok(Self {
            pipe,
            waiting: Vec::new(),
            written: 0,
            ended: false,
            window: STDIN_WINDOW,
            freed: 0,
        })
    }

    /// The descriptor to wait on, when bytes wait for room in the pipe.
    pub fn wanted(&self) -> Option<&Fd> {
        self.pipe.as_ref().filter(|_| !self.waiting.is_empty())
    }

    /// Takes `bytes` from the host.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        self.window = self
            .window
            .checked_sub(bytes.len())
            .ok_or(ProtocolError::WindowExceeded(Kind::Stdin))?;
        let mut rest = bytes;
        if self.waiting.is_empty() {
            rest = &bytes[self.write_some(bytes)..];
        }
        // Without a reader the bytes are dropped and never granted again, so the
        // host soon stops sending.
        if self.pipe.is_some() && !rest.is_empty() {
            // So that it never holds more than the window.
            self.waiting.drain(..self.written);
            self.written = 0;
            self.waiting.reserve_exact(STDIN_WINDOW - self.waiting.len());
            self.waiting.extend_from_slice(rest);
        }
        Ok(())
    }

    /// Nothing more will come.
    pub fn end(&mut self) {
        self.ended = true;
        if self.waiting.is_empty() {
            self.pipe = None;
        }
    }

    /// Writes what waits.
    pub fn carry(&mut self) {
        let waiting = core::mem::take(&mut self.waiting);
        self.written += self.write_some(&waiting[self.written..]);
        self.waiting = waiting;
        if self.pipe.is_none() || self.written == self.waiting.len() {
            self.waiting.clear();
            self.written = 0;
        }
        if self.ended && self.waiting.is_empty() {
            self.pipe = None;
        }
    }

    /// Grants the host what has been freed, when it is worth a frame.
    pub fn grant(&mut self, outbox: &mut Outbox) {
        if self.freed < Self::BATCH || self.ended {
            return;
        }
        let bytes = u32::try_from(self.freed).unwrap_or(0);
        let credit = Credit { output: None, bytes };
        if put(outbox.frames(), Kind::Credit, &credit).is_ok() {
            self.window += self.freed;
            self.freed = 0;
        }
    }

    fn write_some(&mut self, bytes: &[u8]) -> usize {
        let Some(pipe) = &self.pipe else { return 0 };
        match sys::write(pipe, bytes) {
            Ok(count) => {
                self.freed += count;
                count
            }
            Err(Errno::AGAIN) => 0,
            // EPIPE: the process no longer reads.
            Err(_) => {
                self.pipe = None;
                0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stdin_behind_a_slow_reader_holds_no_more_than_its_window() {
        let (reader, writer) = sys::pipe().unwrap();
        let mut stdin = StdinPipe::new(Some(writer)).unwrap();
        let mut outbox = Outbox::new();
        let mut received = 0;
        let mut buffer = [0; 5000];
        while received < 8 * STDIN_WINDOW {
            let bytes = [7; 9000];
            stdin.push(&bytes[..stdin.window.min(bytes.len())]).unwrap();
            stdin.carry();
            stdin.grant(&mut outbox);
            assert!(stdin.waiting.len() <= STDIN_WINDOW);
            received += sys::read_slice(&reader, &mut buffer).unwrap();
        }
        let too_much = std::vec![0; stdin.window + 1];
        let refused = ProtocolError::WindowExceeded(Kind::Stdin);
        assert_eq!(stdin.push(&too_much), Err(refused));
    }
}
