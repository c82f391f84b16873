//! Signals as something to poll.

use std::os::fd::{AsFd, BorrowedFd};

use bulkhead_runtime::Signal;
use nix::sys::signal::{SigSet, Signal as Named};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// The signals `docker run` forwards that a user sends on purpose.
const FORWARDED: [Named; 8] = [
    Named::SIGINT,
    Named::SIGTERM,
    Named::SIGHUP,
    Named::SIGQUIT,
    Named::SIGUSR1,
    Named::SIGUSR2,
    Named::SIGCONT,
    // Passed on as the size of the terminal, where there is one.
    Named::SIGWINCH,
];

/// The signals that ask for an end.
const ENDING: [Named; 4] = [Named::SIGINT, Named::SIGTERM, Named::SIGHUP, Named::SIGQUIT];

/// Signals of this process, blocked and readable from a descriptor instead.
#[derive(Debug)]
pub struct Signals(SignalFd);

/// Whether `run` passes this signal on.
pub fn is_forwarded(signal: Signal) -> bool {
    FORWARDED.iter().any(|&forwarded| forwarded as i32 == signal.number())
}

impl Signals {
    /// Blocks the signals to be forwarded. To be called while the process has
    /// one thread.
    pub fn forwarded() -> nix::Result<Self> {
        Self::block(&FORWARDED)
    }

    /// Blocks only the signals that end a program.
    pub fn ending() -> nix::Result<Self> {
        Self::block(&ENDING)
    }

    /// As [`Signals::forwarded`], and the one that tells that the terminal has another size.
    pub fn watched() -> nix::Result<Self> {
        let mut all = FORWARDED.to_vec();
        all.push(Named::SIGWINCH);
        Self::block(&all)
    }

    /// Blocks only the signal that tells that the terminal has another size.
    pub fn resizes() -> nix::Result<Self> {
        Self::block(&[Named::SIGWINCH])
    }

    fn block(signals: &[Named]) -> nix::Result<Self> {
        let set: SigSet = signals.iter().copied().collect();
        set.thread_block()?;
        SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).map(Self)
    }

    /// The next pending signal.
    pub fn next(&mut self) -> nix::Result<Option<Signal>> {
        let info = self.0.read_signal()?;
        Ok(info.and_then(|info| Signal::new(i32::try_from(info.ssi_signo).unwrap_or(0))))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
