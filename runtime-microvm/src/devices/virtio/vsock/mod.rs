//! virtio-vsock (virtio 1.2, section 5.10): stream sockets between guest and
//! host, which appear on the host as Unix sockets.
//!
//! - The guest connects to host port P: the monitor connects to `<path>_P`.
//! - A host process connects to `<path>`, writes `CONNECT P\n` and, once the
//!   guest has accepted on port P, reads `OK <host port>\n`; then the stream is
//!   the connection.

mod connection;
mod device;
mod metrics;
mod packet;
mod persist;
mod switchboard;
#[cfg(test)]
mod tests;
mod unix;

pub use device::Vsock;
pub use metrics::VsockMetrics;
pub use persist::VsockState;
pub use switchboard::FIRST_TOKEN;

use std::io;
use std::path::PathBuf;

/// Device id.
const ID: u32 = 19;
/// Addresses of the two ends (`VMADDR_CID_HOST`, linux/vm_sockets.h).
const HOST_CID: u64 = 2;
/// The first address a guest may have.
const GUEST_CID: u64 = 3;

/// What a connection may hold back for a host process that does not read: the
/// credit a guest is given.
const CREDIT: u32 = 256 << 10;
/// Most connections at a time; with [`CREDIT`] this bounds the memory a guest
/// can make the monitor use.
const MAX_CONNECTIONS: usize = 128;
/// Most payload of one packet (`VIRTIO_VSOCK_MAX_PKT_BUF_SIZE`, linux/virtio_vsock.h).
const MAX_PAYLOAD: usize = 64 << 10;

/// The host's side of vsock cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum VsockError {
    /// The socket for connections to the guest.
    #[error("cannot listen on {}", path.display())]
    Listen {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be watched.
    #[error("cannot watch the vsock listener")]
    Watch(#[source] io::Error),
}
