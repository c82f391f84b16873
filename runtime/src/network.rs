//! What a sandbox is given to reach others over a network.

use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;

/// The network card of a microVM, whose host end whoever creates the sandbox has made.
///
/// A container needs none: its interface is moved into its network namespace
/// between [`Runtime::create`](crate::Runtime::create) and
/// [`Sandbox::start`](crate::Sandbox::start).
#[derive(Debug, Clone, Copy)]
pub struct Interface<'a> {
    /// The host end: a tap device without packet information, with virtio-net headers
    /// (`IFF_TAP | IFF_NO_PI | IFF_VNET_HDR`). It is gone when its last descriptor is.
    pub tap: BorrowedFd<'a>,
    /// What the card is called inside, `eth0`.
    pub name: &'a str,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Its address.
    pub address: Ipv4Addr,
    /// How many leading bits of the address name its network.
    pub prefix_length: u8,
    /// Where packets for other networks go.
    pub gateway: Option<Ipv4Addr>,
    /// Largest packet, bytes.
    pub mtu: u16,
}

/// A small file laid over the image's, such as `/etc/resolv.conf`: part of the sandbox's
/// own writable layer, mode 0644, owned by root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedFile {
    /// Where, absolute, inside; its directory is made if it is not there. A symbolic
    /// link at this place is replaced, not followed.
    pub path: String,
    /// What it holds.
    pub content: Vec<u8>,
}
