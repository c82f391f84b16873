//! What can go wrong with networks.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use ipnet::Ipv4Net;

use crate::Protocol;

/// Failure to make, join, describe or remove a network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// Only root makes bridges and rules.
    #[error("a network needs root")]
    NotRoot,
    /// No network of that name.
    #[error("no network called {0}")]
    NotFound(String),
    /// The name is taken.
    #[error("a network called {0} exists already")]
    Exists(String),
    /// A name that cannot be used.
    #[error(
        "`{0}` is not a network name: use 1 to 63 letters, digits, `_`, `.` or `-`, \
         beginning with a letter or digit, and none of `none`, `host`, `bridge`"
    )]
    Name(String),
    /// Sandboxes are on it.
    #[error("network {name} is in use by {}", members.join(", "))]
    InUse {
        /// The network.
        name: String,
        /// Who is on it.
        members: Vec<String>,
    },
    /// Every candidate overlaps with something this host has.
    #[error("no private network is free on this host")]
    NoSubnet,
    /// The network's addresses are somebody else's here.
    #[error("{subnet} overlaps with {with}")]
    Overlap {
        /// What was wanted.
        subnet: Ipv4Net,
        /// What has it: a route of the host, or another network.
        with: String,
    },
    /// A network that is not one, or too small for a gateway and a member.
    #[error("{0} is no network for sandboxes: private addresses, /8 to /29")]
    Subnet(Ipv4Net),
    /// An address that members cannot have.
    #[error("{address} is not an address for a member of {subnet}")]
    AddressOutside {
        /// The address.
        address: Ipv4Addr,
        /// The network.
        subnet: Ipv4Net,
    },
    /// Another member has the address.
    #[error("{address} is the address of {holder}")]
    AddressTaken {
        /// The address.
        address: Ipv4Addr,
        /// Who has it.
        holder: String,
    },
    /// Nothing left to give out.
    #[error("network {0} has no address left")]
    Full(String),
    /// A member of that name.
    #[error("{member} is on network {network} already")]
    Member {
        /// Who.
        member: String,
        /// Where.
        network: String,
    },
    /// Somebody has the port of the host.
    #[error("{protocol} port {address} of the host is taken by {holder}")]
    PortTaken {
        /// Which.
        address: SocketAddrV4,
        /// Of what.
        protocol: Protocol,
        /// Who.
        holder: String,
    },
    /// The host has no such address, or the port may not be taken.
    #[error("{protocol} port {address} of the host cannot be published")]
    Port {
        /// Which.
        address: SocketAddrV4,
        /// Of what.
        protocol: Protocol,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// `nft` is not there.
    #[error("the program `nft` is not there (Debian package {})", crate::FIREWALL_PACKAGE)]
    NoNft,
    /// `nft` did not take the rules.
    #[error("nft refused the rules of {table}: {said}")]
    Rules {
        /// Whose rules.
        table: String,
        /// What it said.
        said: String,
    },
    /// Something was asked of the kernel's network code.
    #[error("cannot {action} {what}")]
    Kernel {
        /// What was being done.
        action: &'static str,
        /// On what.
        what: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A file operation.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A file of ours that is not.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why it cannot be understood.
        #[source]
        source: serde_json::Error,
    },
    /// The process that answers for names could not be started.
    #[error("cannot start the process that holds network {network}")]
    Holder {
        /// Which network.
        network: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Wraps what the kernel said of a file.
pub(crate) fn file(
    action: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> NetworkError {
    let path = path.into();
    move |source| NetworkError::Io { action, path, source }
}

/// Wraps what the kernel said of a link, a route, a setting.
pub(crate) fn kernel(
    action: &'static str,
    what: impl Into<String>,
) -> impl FnOnce(io::Error) -> NetworkError {
    let what = what.into();
    move |source| NetworkError::Kernel { action, what, source }
}
