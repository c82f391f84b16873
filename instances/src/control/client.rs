//! The caller's end.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::{ControlError, Decoder, Frame, Reply, Request, SOCKET};

/// A connection to a supervisor.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    decoder: Decoder,
}

impl Client {
    /// Connects to the supervisor of the instance in `dir`.
    ///
    /// # Errors
    ///
    /// [`ControlError::NoAnswer`].
    pub fn connect(dir: &Path) -> Result<Self, ControlError> {
        let path = dir.join(SOCKET);
        let connected = File::open(dir).and_then(|dir| UnixStream::connect(short(&dir)));
        match connected {
            Ok(stream) => Ok(Self::over(stream)),
            Err(source) => Err(ControlError::NoAnswer { path, source }),
        }
    }

    /// Over a connection that is there already.
    #[must_use]
    pub fn over(stream: UnixStream) -> Self {
        Self { stream, decoder: Decoder::default() }
    }

    /// Asks for something, without waiting for an answer.
    ///
    /// # Errors
    ///
    /// When it cannot be sent.
    pub fn send(&mut self, request: &Request) -> Result<(), ControlError> {
        self.put(&Frame::message(request))
    }

    /// Sends a frame.
    ///
    /// # Errors
    ///
    /// When it cannot be sent.
    pub fn put(&mut self, frame: &Frame) -> Result<(), ControlError> {
        let mut bytes = Vec::new();
        frame.put(&mut bytes);
        self.stream.write_all(&bytes).map_err(ControlError::Broken)
    }

    /// The next frame, waiting for it.
    ///
    /// # Errors
    ///
    /// [`ControlError::Ended`] when none will come.
    pub fn next_frame(&mut self) -> Result<Frame, ControlError> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(frame);
            }
            self.fill()?;
        }
    }

    /// A frame that has come already.
    ///
    /// # Errors
    ///
    /// [`ControlError::Malformed`].
    pub fn buffered(&mut self) -> Result<Option<Frame>, ControlError> {
        self.decoder.next_frame().map_err(|_| ControlError::Malformed)
    }

    /// Reads what is there, waiting if there is nothing.
    ///
    /// # Errors
    ///
    /// [`ControlError::Ended`] when nothing will come.
    pub fn fill(&mut self) -> Result<(), ControlError> {
        let mut bytes = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(ControlError::Ended),
                Ok(count) => {
                    self.decoder.push(&bytes[..count]);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return Err(ControlError::Ended);
                }
                Err(error) => return Err(ControlError::Broken(error)),
            }
        }
    }

    /// Asks for something and waits for the answer.
    ///
    /// # Errors
    ///
    /// [`ControlError::Refused`] among others.
    pub fn ask(&mut self, request: &Request) -> Result<Reply, ControlError> {
        self.send(request)?;
        self.reply()
    }

    /// Waits for an answer.
    ///
    /// # Errors
    ///
    /// [`ControlError::Refused`] among others.
    pub fn reply(&mut self) -> Result<Reply, ControlError> {
        match self.next_frame()?.read() {
            Some(Reply::Failed(refusal)) => Err(ControlError::Refused(refusal)),
            Some(reply) => Ok(reply),
            None => Err(ControlError::Malformed),
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// The socket below the open directory `dir`: the path of a socket has to be short
/// (unix(7)), that of a store need not be.
pub(super) fn short(dir: &File) -> String {
    format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd())
}

/// Whether an error of a socket means that there is nothing to do now.
pub(super) fn is_idle(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
