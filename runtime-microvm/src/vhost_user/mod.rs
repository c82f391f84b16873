//! Our vsock device for a monitor that has none: a vhost-user back end
//! (<https://qemu-project.gitlab.io/qemu/interop/vhost-user.html>).
//!
//! QEMU has vsock only by the host's `vhost_vsock` module or by a process like this
//! one. It maps guest memory, hands the queues over, and the device is the one that
//! our own monitor has.

mod backend;
mod message;

use std::io;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use crate::devices::virtio::Malformed;
use crate::devices::virtio::vsock::VsockError;

/// The end of a back end before its monitor's.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// A file, socket or process could not be handled.
    #[error("cannot {action}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The host's side of vsock cannot be set up.
    #[error(transparent)]
    Vsock(#[from] VsockError),
    /// The monitor sent what the protocol does not have.
    #[error("the monitor sent {0}")]
    Protocol(&'static str),
    /// The guest broke the rules of its queues.
    #[error("the guest broke a queue")]
    Queue(#[from] Malformed),
}

fn failed<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> BackendError {
    move |source| BackendError::Io { action, source: source.into() }
}

/// Serves the first monitor that connects to `listener` until it ends. The host's
/// side of the guest's connections is at `path`.
///
/// # Errors
///
/// [`BackendError`].
pub fn serve(listener: &UnixListener, path: PathBuf) -> Result<(), BackendError> {
    let (monitor, _) = listener.accept().map_err(failed("accept the monitor"))?;
    backend::Backend::new(monitor, path)?.run()
}
