//! A monitor whose machine was restored ahead of the request for it.
//!
//! The guest has not run since it was saved, so there is nothing to serve yet and
//! nothing that could break out: the monitor sleeps until somebody asks for the
//! machine on the control socket.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::channel::Channel;
use super::config::MonitorConfig;
use super::control::Control;
use super::report::Report;
use super::request::Request;

/// Waits for the taker and gives it `kept`; the channel to it.
pub fn for_taker(
    control: &Control,
    config: &MonitorConfig,
    kept: &[OwnedFd],
) -> io::Result<Channel> {
    // Of what is only held for as long as it waits, the taker has its own.
    let handed: Vec<_> = kept.iter().take(HANDED).map(AsFd::as_fd).collect();
    loop {
        let caller = control.next_caller()?;
        // Anybody else is hung up on.
        if let Ok(Some((Request::Take, _))) = caller.receive(true)
            && caller.send(&Report::Kept(Box::new(config.clone())), &handed).is_ok()
        {
            return Ok(caller);
        }
    }
}

/// What is handed over first: the lock of the sandbox, and the socket on which the
/// guest's PID 1 has called.
pub const HANDED: usize = 2;
