//! The network options of `bulkhead run`, `bulkhead network` and `bulkhead port`.

use std::net::Ipv4Addr;

use bulkhead_network::{MacAddress, NetworkMode, Protocol, parse_publish};
use clap::{Args, Subcommand};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::Output;

/// What a sandbox reaches, and what reaches it.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(default)]
#[command(next_help_heading = "Network")]
pub struct NetworkArgs {
    /// none (nothing but loopback), bridge, host (containers only), or the name of one made
    /// by `bulkhead network create` [default: none, or bridge with -p or -P]
    #[arg(long, visible_alias = "net", value_name = "NETWORK")]
    pub network: Option<NetworkMode>,
    /// Show a port on the host
    #[arg(long, short = 'p', value_parser = port, value_name = "[[IP:]HOST:]PORT[/udp]")]
    pub publish: Vec<String>,
    /// Show all ports that the image exposes at free ports of the host
    #[arg(long, short = 'P')]
    pub publish_all: bool,
    /// Address on the network [default: any free one]
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<Ipv4Addr>,
    /// Hardware address [default: made of the address]
    #[arg(long, value_name = "MAC")]
    pub mac_address: Option<MacAddress>,
    /// A further name by which others on the network find it
    #[arg(long, value_parser = name, value_name = "NAME")]
    pub network_alias: Vec<String>,
    /// Resolver for names outside the network [default: the host's]
    #[arg(long, value_name = "ADDRESS")]
    pub dns: Vec<Ipv4Addr>,
    /// Add a name to /etc/hosts; the address `host-gateway` is the host's on the network
    #[arg(long, value_parser = entry, value_name = "NAME:ADDRESS")]
    pub add_host: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum NetworkVerb {
    /// Make a network, kept until it is removed; it comes up with its first sandbox
    Create {
        /// Its name
        name: String,
        /// Its addresses [default: any free private /24]
        #[arg(long, value_name = "CIDR")]
        subnet: Option<Ipv4Net>,
        /// The host's address on it [default: the first]
        #[arg(long, value_name = "ADDRESS", requires = "subnet")]
        gateway: Option<Ipv4Addr>,
    },
    /// List networks
    Ls {
        #[command(flatten)]
        output: Output,
    },
    /// Remove networks that no sandbox is on
    Rm {
        /// The networks
        #[arg(required = true, value_name = "NETWORK")]
        names: Vec<String>,
    },
    /// Print networks and who is on them as JSON
    Inspect {
        /// The networks
        #[arg(required = true, value_name = "NETWORK")]
        names: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub struct PortArgs {
    /// The sandbox
    pub sandbox: String,
    /// Only where this port of the sandbox is shown
    #[arg(value_parser = guest_port, value_name = "PORT[/udp]")]
    pub port: Option<(u16, Protocol)>,
}

fn port(text: &str) -> Result<String, String> {
    parse_publish(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// A name as DNS has it, without its dots.
fn name(text: &str) -> Result<String, String> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=63).contains(&text.len()) && text.bytes().all(fine) {
        Ok(text.to_owned())
    } else {
        Err("a name has 1 to 63 letters, digits, `-`, `_` and `.`".to_owned())
    }
}

fn entry(text: &str) -> Result<String, String> {
    crate::verbs::network::host_entry(text).map(|_| text.to_owned())
}

fn guest_port(text: &str) -> Result<(u16, Protocol), String> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let port = port.parse().map_err(|_| format!("`{port}` is not a port"))?;
    Ok((port, protocol.parse().map_err(|error| format!("{error}"))?))
}
