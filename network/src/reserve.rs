//! The host's side of a published port.
//!
//! Packets for it never reach a socket, so nothing would keep a program of the host from
//! listening there in vain. Whoever publishes a port therefore holds it, as long as it is
//! published, with a socket that nobody answers at.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with, sockopt,
};

use crate::error::NetworkError;
use crate::state::NetworkState;
use crate::{Protocol, Publish, Published};

/// A port of the host that is held.
#[derive(Debug)]
pub(crate) struct Reserved {
    pub port: Published,
    _socket: OwnedFd,
}

/// Holds the port of the host that `publish` asks for. `others` are the networks that are
/// up, to say who has it if somebody does.
pub(crate) fn reserve(
    publish: &Publish,
    others: &[NetworkState],
) -> Result<Reserved, NetworkError> {
    let protocol = publish.protocol;
    let address = publish.address.unwrap_or(Ipv4Addr::UNSPECIFIED);
    let wanted = SocketAddrV4::new(address, publish.host.unwrap_or(0));
    match hold(wanted, protocol) {
        Ok((socket, host)) => {
            let port = Published { address, host, guest: publish.guest, protocol };
            Ok(Reserved { port, _socket: socket })
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let holder = member_with(wanted, protocol, others)
                .or_else(|| process_with(wanted.port(), protocol))
                .unwrap_or_else(|| "another program".to_owned());
            Err(NetworkError::PortTaken { address: wanted, protocol, holder })
        }
        Err(source) => Err(NetworkError::Port { address: wanted, protocol, source }),
    }
}

fn hold(wanted: SocketAddrV4, protocol: Protocol) -> io::Result<(OwnedFd, u16)> {
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let socket = socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None)?;
    if protocol == Protocol::Tcp {
        // As servers do: connections that have ended take no port.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    bind(&socket, &wanted)?;
    if protocol == Protocol::Tcp {
        listen(&socket, 0)?;
    }
    let bound = SocketAddrV4::try_from(getsockname(&socket)?)?;
    Ok((socket, bound.port()))
}

/// The member of one of our networks that has a port.
fn member_with(
    wanted: SocketAddrV4,
    protocol: Protocol,
    networks: &[NetworkState],
) -> Option<String> {
    let overlaps = |port: &Published| {
        let everywhere = port.address.is_unspecified() || wanted.ip().is_unspecified();
        port.protocol == protocol
            && port.host == wanted.port()
            && (everywhere || port.address == *wanted.ip())
    };
    let members = networks.iter().flat_map(|network| &network.members);
    let found = members.into_iter().find(|member| member.ports.iter().any(overlaps));
    found.map(|member| format!("sandbox {}", member.id))
}

/// The process of the host that has a port, by name and number.
fn process_with(port: u16, protocol: Protocol) -> Option<String> {
    let tables = match protocol {
        Protocol::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
        Protocol::Udp => ["/proc/net/udp", "/proc/net/udp6"],
    };
    let inodes: Vec<String> = tables
        .into_iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| sockets_at(port, &table))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.into_iter().find_map(|pid| {
        let dir = Path::new("/proc").join(pid.to_string());
        let mut descriptors = fs::read_dir(dir.join("fd")).ok()?.flatten();
        descriptors.find(|fd| {
            fs::read_link(fd.path())
                .is_ok_and(|target| inodes.iter().any(|inode| target == Path::new(inode)))
        })?;
        let name = fs::read_to_string(dir.join("comm")).ok()?;
        Some(format!("process {pid} ({})", name.trim()))
    })
}

/// Inodes of the sockets at a local port, of a table as proc_net_tcp has it.
fn sockets_at(port: u16, table: &str) -> Vec<u64> {
    let local = format!(":{port:04X}");
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    let ours = rows.filter(|row| row.get(1).is_some_and(|at| at.ends_with(&local)));
    ours.filter_map(|row| row.get(9)?.parse().ok()).filter(|inode| *inode != 0).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    fn ask(host: Option<u16>, protocol: Protocol) -> Result<Reserved, NetworkError> {
        let address = Some(Ipv4Addr::LOCALHOST);
        reserve(&Publish { address, host, guest: 80, protocol }, &[])
    }

    #[test]
    fn a_port_is_held_and_let_go() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let held = ask(None, protocol).unwrap();
            let port = held.port.host;
            assert!(port > 0);
            let refused = ask(Some(port), protocol).unwrap_err();
            let said = refused.to_string();
            assert!(said.contains(&format!("process {}", std::process::id())), "{said}");
            drop(held);
            ask(Some(port), protocol).unwrap();
        }
    }

    #[test]
    fn programs_of_the_host_are_named() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let ports = [
            (tcp.local_addr().unwrap().port(), Protocol::Tcp),
            (udp.local_addr().unwrap().port(), Protocol::Udp),
        ];
        for (port, protocol) in ports {
            let refused = ask(Some(port), protocol);
            assert!(matches!(refused, Err(NetworkError::PortTaken { .. })), "{refused:?}");
        }
    }
}
