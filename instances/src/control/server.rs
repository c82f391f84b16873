//! The supervisor's end. It never waits for a caller.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::client::{is_idle, short};
use super::{Decoder, Frame, Reply, SOCKET};

/// A caller that leaves so much output unread is let go: the workload does not wait for
/// it.
const PATIENCE: usize = 8 << 20;

/// So much of what is sent already may stay in front of what is not.
const MOVED: usize = 1 << 20;

/// Waits for callers in the directory of an instance.
pub(crate) fn listen(dir: &Path) -> io::Result<UnixListener> {
    let path = dir.join(SOCKET);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let dir = File::open(dir)?;
    let listener = UnixListener::bind(short(&dir))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A connection to a caller.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    decoder: Decoder,
    outbox: Vec<u8>,
    sent: usize,
    /// Nothing more will come or can be sent.
    over: bool,
    /// It is closed once everything is sent.
    last: bool,
}

impl Connection {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let decoder = Decoder::default();
        Ok(Self { stream, decoder, outbox: Vec::new(), sent: 0, over: false, last: false })
    }

    /// What came, until there is no more now.
    pub(crate) fn receive(&mut self) -> Vec<Frame> {
        let mut bytes = [0; 16 * 1024];
        let mut frames = Vec::new();
        match self.stream.read(&mut bytes) {
            Ok(0) => self.over = true,
            Ok(count) => self.decoder.push(&bytes[..count]),
            Err(error) if is_idle(&error) => {}
            Err(_) => self.over = true,
        }
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return frames,
                Err(_) => {
                    self.over = true;
                    return frames;
                }
            }
        }
    }

    /// Sends an answer.
    pub(crate) fn answer(&mut self, reply: &Reply) {
        self.put(&Frame::message(reply));
    }

    /// Sends an answer and closes.
    pub(crate) fn finish(&mut self, reply: &Reply) {
        self.answer(reply);
        self.last = true;
    }

    /// Sends a frame as soon as it can be.
    pub(crate) fn put(&mut self, frame: &Frame) {
        if self.over || self.last {
            return;
        }
        frame.put(&mut self.outbox);
        self.flush();
        if self.outbox.len() - self.sent > PATIENCE {
            self.over = true;
        }
    }

    /// Sends what can be sent now.
    pub(crate) fn flush(&mut self) {
        while self.wants_to_send() && !self.over {
            match self.stream.write(&self.outbox[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.sent > MOVED {
                        self.outbox.drain(..self.sent);
                        self.sent = 0;
                    }
                    return;
                }
                Err(_) => self.over = true,
            }
        }
        self.outbox.clear();
        self.sent = 0;
    }

    /// Whether something is still to be sent.
    pub(crate) fn wants_to_send(&self) -> bool {
        self.sent < self.outbox.len()
    }

    /// Whether it can be dropped.
    pub(crate) fn is_over(&self) -> bool {
        self.over || (self.last && !self.wants_to_send())
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
