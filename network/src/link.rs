//! Interfaces: bridges, their ports, and what is set on them.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use ipnet::Ipv4Net;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
    RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::MacAddress;
use crate::netlink::Netlink;
use crate::subnet::Taken;

/// An interface, as far as we care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub index: u32,
    pub name: String,
    /// What it is for, in words; those of ours say whose.
    pub alias: String,
    pub mtu: u32,
}

impl Link {
    fn read(message: LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            alias: String::new(),
            mtu: 0,
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::IfAlias(alias) => link.alias = alias,
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                _ => {}
            }
        }
        link
    }
}

/// How an interface of a container is to be.
#[derive(Debug)]
pub(crate) struct Veth<'a> {
    /// Name of the host's end.
    pub name: &'a str,
    /// Index of the bridge it is a port of.
    pub bridge: u32,
    /// Name of the other end.
    pub inside: &'a str,
    /// Hardware address of the other end.
    pub mac: MacAddress,
    /// Namespace of the other end.
    pub namespace: BorrowedFd<'a>,
    pub mtu: u16,
}

impl Netlink {
    /// The interface called `name`, if there is one.
    pub(crate) fn link(&self, name: &str) -> io::Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let answers = match self.ask(RouteNetlinkMessage::GetLink(message), 0) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(None),
            other => other?,
        };
        Ok(answers.into_iter().find_map(link_of))
    }

    /// All interfaces.
    pub(crate) fn links(&self) -> io::Result<Vec<Link>> {
        let answers = self.list(RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
        Ok(answers.into_iter().filter_map(link_of).collect())
    }

    /// Makes a bridge that is down.
    pub(crate) fn add_bridge(&self, name: &str, mac: MacAddress, mtu: u16) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Mtu(mtu.into()),
            // Otherwise it changes with the ports.
            LinkAttribute::Address(mac.0.to_vec()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Bridge),
                LinkInfo::Data(InfoData::Bridge(vec![InfoBridge::MulticastSnooping(false)])),
            ]),
        ];
        self.tell(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Says what an interface is for.
    pub(crate) fn set_alias(&self, index: u32, alias: &str) -> io::Result<()> {
        self.change(index, vec![LinkAttribute::IfAlias(alias.to_owned())], false)
    }

    /// Brings an interface up, as a port of `bridge` if there is one.
    pub(crate) fn bring_up(&self, index: u32, bridge: Option<u32>) -> io::Result<()> {
        let attributes = bridge.map(LinkAttribute::Controller).into_iter().collect();
        self.change(index, attributes, true)
    }

    /// Changes the largest packet of an interface.
    pub(crate) fn set_mtu(&self, index: u32, mtu: u16) -> io::Result<()> {
        self.change(index, vec![LinkAttribute::Mtu(mtu.into())], false)
    }

    fn change(&self, index: u32, attributes: Vec<LinkAttribute>, up: bool) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = attributes;
        if up {
            message.header.flags = LinkFlags::Up;
            message.header.change_mask = LinkFlags::Up;
        }
        self.tell(RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Makes a pair of interfaces, one of them up on the host, the other down inside.
    pub(crate) fn add_veth(&self, veth: &Veth<'_>) -> io::Result<()> {
        let mtu = LinkAttribute::Mtu(veth.mtu.into());
        let mut inside = LinkMessage::default();
        inside.attributes = vec![
            LinkAttribute::IfName(veth.inside.to_owned()),
            LinkAttribute::Address(veth.mac.0.to_vec()),
            LinkAttribute::NetNsFd(veth.namespace.as_raw_fd()),
            mtu.clone(),
        ];
        let mut message = LinkMessage::default();
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        message.attributes = vec![
            LinkAttribute::IfName(veth.name.to_owned()),
            mtu,
            LinkAttribute::Controller(veth.bridge),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(inside))),
            ]),
        ];
        self.tell(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Removes an interface, if it is there.
    pub(crate) fn remove_link(&self, name: &str) -> io::Result<()> {
        let Some(link) = self.link(name)? else { return Ok(()) };
        let mut message = LinkMessage::default();
        message.header.index = link.index;
        match self.tell(RouteNetlinkMessage::DelLink(message), 0) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            other => other,
        }
    }

    /// Gives an interface an address.
    pub(crate) fn add_address(
        &self,
        index: u32,
        address: Ipv4Addr,
        subnet: Ipv4Net,
    ) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = subnet.prefix_len();
        message.header.index = index;
        message.attributes = vec![
            AddressAttribute::Local(IpAddr::V4(address)),
            AddressAttribute::Address(IpAddr::V4(address)),
            AddressAttribute::Broadcast(subnet.broadcast()),
        ];
        self.tell(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Sends packets for all other networks to `gateway`.
    pub(crate) fn add_default_route(&self, gateway: Ipv4Addr, index: u32) -> io::Result<()> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.scope = RouteScope::Universe;
        message.header.kind = RouteType::Unicast;
        message.attributes = vec![
            RouteAttribute::Gateway(RouteAddress::Inet(gateway)),
            RouteAttribute::Oif(index),
        ];
        self.tell(RouteNetlinkMessage::NewRoute(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// What this host has routes to, but for the one to everywhere, and the interfaces of
    /// all routes.
    pub(crate) fn routes(&self) -> io::Result<(Vec<Taken>, Vec<u32>)> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        let (mut taken, mut interfaces) = (Vec::new(), Vec::new());
        for answer in self.list(RouteNetlinkMessage::GetRoute(message))? {
            let RouteNetlinkMessage::NewRoute(route) = answer else { continue };
            // The kernel's own for local and broadcast addresses say nothing new.
            if route.header.kind != RouteType::Unicast {
                continue;
            }
            let mut destination = None;
            let mut interface = None;
            for attribute in route.attributes {
                match attribute {
                    RouteAttribute::Destination(RouteAddress::Inet(to)) => {
                        destination = Some(to);
                    }
                    RouteAttribute::Oif(index) => interface = Some(index),
                    _ => {}
                }
            }
            interfaces.extend(interface);
            let prefix = route.header.destination_prefix_length;
            let subnet = destination.and_then(|to| Ipv4Net::new(to, prefix).ok());
            if let Some(subnet) = subnet.filter(|_| prefix > 0) {
                taken.push(Taken { subnet, by: format!("the host's route to {subnet}") });
            }
        }
        interfaces.sort_unstable();
        interfaces.dedup();
        Ok((taken, interfaces))
    }
}

fn link_of(answer: RouteNetlinkMessage) -> Option<Link> {
    match answer {
        RouteNetlinkMessage::NewLink(message) => Some(Link::read(message)),
        _ => None,
    }
}
