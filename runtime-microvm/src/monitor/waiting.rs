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
use crate::devices::virtio::net::Link;

/// Who has come for the machine.
#[derive(Debug)]
pub struct Taker {
    /// The channel to it.
    pub channel: Channel,
    /// The network the machine is to be connected to, and its tap device.
    pub network: Option<(Link, OwnedFd)>,
}

/// Waits for the taker and gives it `kept`.
pub fn for_taker(
    control: &Control,
    config: &MonitorConfig,
    kept: &[OwnedFd],
) -> io::Result<Taker> {
    // Of what is only held for as long as it waits, the taker has its own.
    let handed: Vec<_> = kept.iter().take(HANDED).map(AsFd::as_fd).collect();
    loop {
        let caller = control.next_caller()?;
        // Anybody else is hung up on.
        let Ok(Some((Request::Take(link), fds))) = caller.receive(true) else { continue };
        let network = link.zip(fds.into_iter().next());
        if network.is_some() == link.is_some()
            && caller.send(&Report::Kept(Box::new(config.clone())), &handed).is_ok()
        {
            return Ok(Taker { channel: caller, network });
        }
    }
}

/// What is handed over first: the lock of the sandbox, and the socket on which the
/// guest's PID 1 has called.
pub const HANDED: usize = 2;
