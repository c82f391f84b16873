//! Holding the workload so that its machine can be saved with it, and letting it go on
//! in the clones.
//!
//! Everything but this process is stopped in between. So the machine comes to rest
//! whatever the workload does, and in a clone nothing of it runs before the clone is a
//! machine of its own.

use core::ffi::c_int;

use super::refresh::refresh;
use super::sandbox::write_all;
use super::spawn::failed;
use super::sys::{self, Errno, Fd};
use crate::protocol::{Failure, Fresh, HAND_OVER, Hold, Step};

/// What a pipe holds unless it is asked to hold more (`PIPE_DEF_BUFFERS`,
/// linux/pipe_fs_i.h).
const PIPE_SIZE: usize = 64 * 1024;

/// What a workload is waited for.
#[derive(Debug)]
pub struct Waiting {
    until: Hold,
    /// Keeps who reads the hand-over from reading its end, before it has begun.
    hand_over: Option<Fd>,
}

impl Waiting {
    pub fn new(until: Hold) -> Self {
        Self { until, hand_over: None }
    }

    /// Whether the workload is ready.
    pub fn is_over(&mut self) -> sys::Result<bool> {
        match self.until {
            Hold::Now => Ok(true),
            Hold::Port(port) => sys::accepts_tcp(port),
            Hold::HandOver => {
                match sys::open(HAND_OVER, libc::O_WRONLY | libc::O_NONBLOCK) {
                    Ok(fifo) => self.hand_over = Some(fifo),
                    // Nobody reads it (fifo(7)).
                    Err(Errno(libc::ENXIO)) => {}
                    Err(errno) => return Err(errno),
                }
                Ok(self.hand_over.is_some())
            }
        }
    }
}

/// What a session has in its hands: what it stops, and lets go on.
#[derive(Debug)]
pub enum Scope {
    /// A machine: every process but this one, its PID 1, and the kernel, by its source
    /// of randomness.
    Machine(sys::Result<Fd>),
    /// The session's own process.
    Process,
}

impl Scope {
    /// Sends `signal` to those in it, of which `pid` is one.
    pub fn signal(&self, pid: c_int, signal: c_int) -> sys::Result<()> {
        /// Everybody but PID 1 and whoever asks (kill(2)).
        const EVERYBODY: c_int = -1;
        sys::kill(if matches!(self, Self::Machine(_)) { EVERYBODY } else { pid }, signal)
    }

    /// Makes it a machine of its own, if it is one.
    pub fn refresh(&self, fresh: &Fresh) -> Result<(), Failure> {
        match self {
            Self::Machine(random) => refresh(random, fresh),
            Self::Process => Err(Failure::WrongState),
        }
    }
}

/// Puts `text` where the application reads it: to those that read already, and in a
/// file for those that come later.
pub fn hand_over(text: &[u8]) -> Result<(), Failure> {
    match replace(text) {
        // The application has removed it: it does not want to know.
        Err(Errno::NOENT) => Ok(()),
        other => other.map_err(failed(Step::HandOver)),
    }
}

fn replace(text: &[u8]) -> sys::Result<()> {
    // For both, so that it is opened whether anybody reads or not.
    let fifo = sys::open(HAND_OVER, libc::O_RDWR | libc::O_NONBLOCK)?;
    let (uid, gid, _) = sys::owner_and_mode(HAND_OVER)?;
    sys::remove(HAND_OVER)?;
    let file = sys::create(HAND_OVER, 0o400)?;
    sys::change_owner(HAND_OVER, uid, gid)?;
    write_all(&file, text)?;
    if text.len() > PIPE_SIZE {
        sys::pipe_size(&fifo, text.len())?;
    }
    write_all(&fifo, text)
}
