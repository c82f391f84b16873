//! The way to the file server.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{MsgFlags, recv, sendmsg};

use crate::files::Window;

/// Somebody who answers requests in a window of memory.
pub trait Ask: Send + std::fmt::Debug {
    /// The memory.
    fn window(&self) -> &Window;

    /// Has the request of `len` bytes in the window answered, and says how long the
    /// answer there is; `None` when nobody answers any more.
    fn ask(&mut self, len: usize) -> Option<usize>;
}

/// A file server in another process.
#[derive(Debug)]
pub struct Asker {
    /// `None` once it is gone.
    socket: Option<OwnedFd>,
    window: Window,
}

impl Asker {
    /// The one at the other end of `socket`, with `window` for both.
    ///
    /// # Errors
    ///
    /// When the window cannot be mapped.
    pub fn new(socket: OwnedFd, window: OwnedFd) -> io::Result<Self> {
        Ok(Self { socket: Some(socket), window: Window::map(window)? })
    }

    fn exchange(&self, len: usize) -> Option<usize> {
        let fd = self.socket.as_ref()?.as_raw_fd();
        let bytes = u32::try_from(len).ok()?.to_le_bytes();
        let data = [IoSlice::new(&bytes)];
        retry(|| sendmsg::<()>(fd, &data, &[], MsgFlags::MSG_NOSIGNAL, None))?;
        let mut answer = [0; 4];
        let received = retry(|| recv(fd, &mut answer, MsgFlags::empty()))?;
        (received == answer.len()).then(|| usize::try_from(u32::from_le_bytes(answer)).ok())?
    }
}

/// Repeats what a signal interrupted: the processor's thread gets many.
fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> Option<T> {
    loop {
        match call() {
            Err(nix::errno::Errno::EINTR) => {}
            other => return other.ok(),
        }
    }
}

impl Ask for Asker {
    fn window(&self) -> &Window {
        &self.window
    }

    fn ask(&mut self, len: usize) -> Option<usize> {
        let answered = self.exchange(len);
        if answered.is_none() {
            // Whatever came now would be the answer to something else.
            self.socket = None;
        }
        answered
    }
}
