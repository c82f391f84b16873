//! Giving out what nobody has: networks and addresses.

use std::net::Ipv4Addr;

use bulkhead_runtime::SandboxId;
use ipnet::Ipv4Net;

use crate::definition::is_for_members;
use crate::error::NetworkError;
use crate::state::NetworkState;

/// What somebody has: addresses and who.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    pub subnet: Ipv4Net,
    pub by: String,
}

/// Candidates for the default network, podman's first.
fn defaults() -> impl Iterator<Item = Ipv4Net> {
    let ten = (88..=120).map(|second| Ipv4Addr::new(10, second, 0, 0));
    let rest = (16..=31).map(|second| Ipv4Addr::new(172, second, 0, 0));
    ten.chain(rest).filter_map(|address| Ipv4Net::new(address, 16).ok())
}

/// Candidates for a network that somebody makes.
fn smaller() -> impl Iterator<Item = Ipv4Net> {
    let ten = (121..=127).flat_map(|second| (0..=255).map(move |third| (second, third)));
    let nets = ten.map(|(second, third)| Ipv4Addr::new(10, second, third, 0));
    nets.filter_map(|address| Ipv4Net::new(address, 24).ok())
}

/// Who has something of `subnet`.
pub(crate) fn overlapping<'a>(subnet: &Ipv4Net, taken: &'a [Taken]) -> Option<&'a Taken> {
    taken.iter().find(|other| other.subnet.contains(subnet) || subnet.contains(&other.subnet))
}

/// Addresses for the default network.
pub(crate) fn free_default(taken: &[Taken]) -> Result<Ipv4Net, NetworkError> {
    first_free(defaults(), taken)
}

/// Addresses for a network that somebody makes.
pub(crate) fn free(taken: &[Taken]) -> Result<Ipv4Net, NetworkError> {
    first_free(smaller(), taken)
}

fn first_free(
    mut candidates: impl Iterator<Item = Ipv4Net>,
    taken: &[Taken],
) -> Result<Ipv4Net, NetworkError> {
    let free = candidates.find(|subnet| overlapping(subnet, taken).is_none());
    free.ok_or(NetworkError::NoSubnet)
}

/// An address for a new member: `wanted`, or the next that is free.
pub(crate) fn address(
    state: &NetworkState,
    wanted: Option<Ipv4Addr>,
) -> Result<Ipv4Addr, NetworkError> {
    let subnet = state.subnet();
    let holder = |address: Ipv4Addr| -> Option<&SandboxId> {
        state.members.iter().find(|member| member.address == address).map(|member| &member.id)
    };
    if let Some(address) = wanted {
        if address == state.gateway() || !is_for_members(&subnet, address) {
            return Err(NetworkError::AddressOutside { address, subnet });
        }
        return match holder(address) {
            Some(holder) => {
                Err(NetworkError::AddressTaken { address, holder: holder.to_string() })
            }
            None => Ok(address),
        };
    }
    let all = || subnet.hosts();
    let after = all().skip_while(|address| *address <= state.last);
    let free = |address: &Ipv4Addr| *address != state.gateway() && holder(*address).is_none();
    let mut candidates = after.chain(all());
    candidates.find(free).ok_or_else(|| NetworkError::Full(state.definition.name.clone()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::state::{Kind, Member};
    use crate::{Definition, MacAddress};

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    fn state(subnet: &str) -> NetworkState {
        let definition = Definition::new("test", net(subnet), None).unwrap();
        NetworkState {
            last: definition.gateway,
            definition,
            bridge: "bulkhead0".into(),
            mtu: 1500,
            members: Vec::new(),
        }
    }

    fn join(
        state: &mut NetworkState,
        wanted: Option<Ipv4Addr>,
    ) -> Result<Ipv4Addr, NetworkError> {
        let address = address(state, wanted)?;
        state.last = address;
        state.members.push(Member {
            id: format!("m{}", u32::from(address)).parse().unwrap(),
            aliases: BTreeSet::new(),
            address,
            mac: MacAddress::of(address),
            kind: Kind::Veth,
            owner: 1,
            dns: Vec::new(),
            ports: Vec::new(),
        });
        Ok(address)
    }

    #[test]
    fn networks_of_the_host_are_avoided() {
        let by = String::from("eth0");
        assert_eq!(free_default(&[]).unwrap(), net("10.88.0.0/16"));
        let taken = [Taken { subnet: net("10.88.4.0/24"), by: by.clone() }];
        assert_eq!(free_default(&taken).unwrap(), net("10.89.0.0/16"));
        let taken = [Taken { subnet: net("10.0.0.0/8"), by: by.clone() }];
        assert_eq!(free_default(&taken).unwrap(), net("172.16.0.0/16"));
        assert!(matches!(free(&taken), Err(NetworkError::NoSubnet)));
    }

    #[test]
    fn an_address_is_one_members_and_not_given_again_at_once() {
        let mut state = state("10.90.0.0/29");
        let of = |last| Ipv4Addr::new(10, 90, 0, last);
        assert_eq!(join(&mut state, None).unwrap(), of(2));
        state.members.clear();
        assert_eq!(join(&mut state, None).unwrap(), of(3));
        assert_eq!(join(&mut state, Some(of(5))).unwrap(), of(5));
        assert!(matches!(
            join(&mut state, Some(of(5))),
            Err(NetworkError::AddressTaken { .. })
        ));
        for outside in [of(0), of(1), of(7), of(9)] {
            let refused = join(&mut state, Some(outside));
            assert!(matches!(refused, Err(NetworkError::AddressOutside { .. })), "{outside}");
        }
        let rest: Vec<_> = (0..3).map(|_| join(&mut state, None).unwrap()).collect();
        assert_eq!(rest, [of(6), of(2), of(4)]);
        assert!(matches!(join(&mut state, None), Err(NetworkError::Full(_))));
    }
}
