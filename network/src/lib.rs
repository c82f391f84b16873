//! Networks of sandboxes on this host: bridges, addresses, names and published ports.
//!
//! A [`Networks`] has one bridge per network that somebody is on. Whoever starts a sandbox
//! [joins](Networks::join) it to one and holds an [`Attachment`] as long as the sandbox
//! lives. A container's interface is a veth pair that is put into its network namespace
//! ([`Attachment::connect`]); a microVM's is a tap whose descriptor its monitor is handed
//! ([`Attachment::interface`]). Neither knows the other: they are ports of one bridge.
//!
//! - `definition` is what users made by name, kept with the images;
//! - `state` is the lease file of a network that is up, and `lock` who may touch it and who
//!   still lives;
//! - `subnet` gives out networks and addresses that nobody has;
//! - `netlink`, `link`, `tap` and `sysctl` speak to the kernel;
//! - `firewall` writes the rules, all of a network's in one transaction, from the lease file;
//! - `forwarding` lets the host pass packets on, and stops it when the last network goes;
//! - `reserve` holds the host's side of published ports;
//! - `holder` is the process that answers for names, and that takes down what members leave
//!   who were killed.
//!
//! # What is left when something dies
//!
//! The lease file is written before anything is made, so whatever exists can be found from
//! it, and all that is made is made again or removed the same way twice. A member holds a
//! lock on a file of its own: the kernel drops it with the process, however that ends.
//!
//! # What a network does not keep out
//!
//! The host itself reaches every sandbox on its bridge, as with docker. IPv6 is not carried.

#![deny(missing_docs)]

mod address;
mod attachment;
mod definition;
mod error;
mod files;
mod firewall;
mod forwarding;
mod holder;
mod link;
mod lock;
mod mode;
mod netlink;
mod networks;
mod port;
mod reserve;
mod state;
mod subnet;
mod sysctl;
mod tap;

pub use address::{MacAddress, ParseMacError};
pub use attachment::Attachment;
pub use definition::{DEFAULT, Definition};
pub use error::NetworkError;
pub use files::{HostEntry, host_files};
pub use firewall::{PACKAGE as FIREWALL_PACKAGE, is_available as firewall_is_available};
pub use holder::main as holder_main;
pub use mode::NetworkMode;
pub use networks::{Found, Join, Networks};
pub use port::{ParsePortError, Protocol, Publish, Published, parse_publish};
pub use state::{Kind, Member, NetworkState};
