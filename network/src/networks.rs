//! [`Networks`]: what exists, who is on it, and what becomes of both.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use bulkhead_runtime::SandboxId;
use ipnet::Ipv4Net;

use crate::attachment::{Attachment, Parts};
use crate::definition::{DEFAULT, Definitions};
use crate::error::{NetworkError, kernel};
use crate::files::{self, HostEntry};
use crate::firewall::{self, BRIDGES};
use crate::lock::{self, Lock};
use crate::netlink::Netlink;
use crate::reserve::{self, Reserved};
use crate::state::{Kind, Member, NetworkState, States};
use crate::subnet::{self, Taken};
use crate::{Definition, MacAddress, Publish, Published};
use crate::{forwarding, holder, sysctl, tap};

/// Largest packet of a network where nothing is smaller (Ethernet's), bytes.
const MTU: u16 = 1500;

/// The networks of this host.
#[derive(Debug, Clone)]
pub struct Networks {
    root: PathBuf,
    states: States,
    definitions: Definitions,
    /// The command line, less its arguments, that runs [`holder_main`](crate::holder_main).
    holder: Vec<OsString>,
    /// Whether this process is one that holds a network.
    pub(crate) is_holder: bool,
}

/// What somebody asks for who joins a network.
#[derive(Debug)]
pub struct Join<'a> {
    /// Which one.
    pub network: &'a str,
    /// The sandbox.
    pub id: &'a SandboxId,
    /// What connects it.
    pub kind: Kind,
    /// What it calls itself.
    pub hostname: &'a str,
    /// Further names it is found by.
    pub aliases: &'a [String],
    /// Its address; any free one when none.
    pub address: Option<Ipv4Addr>,
    /// Its hardware address.
    pub mac: Option<MacAddress>,
    /// Resolvers for other names; the host's when empty.
    pub dns: &'a [Ipv4Addr],
    /// Names for its `/etc/hosts`.
    pub entries: &'a [HostEntry],
    /// What is shown of it on the host.
    pub publish: &'a [Publish],
}

/// Something that a killed process left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The network.
    pub network: String,
    /// Who was on it; none for a network without members.
    pub member: Option<SandboxId>,
}

impl Networks {
    /// The networks of the sandboxes under `root`, and those kept in `definitions`.
    /// `holder` is what runs [`holder_main`](crate::holder_main) when its arguments are
    /// added.
    #[must_use]
    pub fn new(root: &Path, definitions: PathBuf, holder: Vec<OsString>) -> Self {
        let states = States::under(root);
        let definitions = Definitions::in_dir(definitions);
        Self { root: root.to_owned(), states, definitions, holder, is_holder: false }
    }

    /// Makes a network: it is kept, and comes up with its first member.
    ///
    /// # Errors
    ///
    /// When the name is taken or the addresses are somebody's.
    pub fn create(
        &self,
        name: &str,
        subnet: Option<Ipv4Net>,
        gateway: Option<Ipv4Addr>,
    ) -> Result<Definition, NetworkError> {
        let _lock = host_lock()?;
        let taken = self.taken(&netlink()?, None)?;
        let subnet = match subnet {
            Some(subnet) => subnet,
            None => subnet::free(&taken)?,
        };
        let definition = Definition::new(name, subnet, gateway)?;
        refuse_overlap(definition.subnet, &taken)?;
        self.definitions.add(&definition)?;
        Ok(definition)
    }

    /// Forgets a network that nobody is on.
    ///
    /// # Errors
    ///
    /// [`NetworkError::InUse`] when somebody is; [`NetworkError::NotFound`].
    pub fn remove(&self, name: &str) -> Result<(), NetworkError> {
        let _lock = host_lock()?;
        if self.states.read(name)?.is_some() {
            self.settle(&netlink()?, name, None)?;
        }
        if let Some(state) = self.states.read(name)? {
            let members = state.members.iter().map(|member| member.id.to_string()).collect();
            return Err(NetworkError::InUse { name: name.to_owned(), members });
        }
        self.definitions.remove(name)
    }

    /// All that were made, and the default one if it is up.
    ///
    /// # Errors
    ///
    /// When they cannot be read.
    pub fn list(&self) -> Result<Vec<(Definition, Option<NetworkState>)>, NetworkError> {
        let default = self.states.read(DEFAULT)?;
        let mut all: Vec<_> =
            default.map(|state| (state.definition.clone(), Some(state))).into_iter().collect();
        for definition in self.definitions.all()? {
            let state = self.states.read(&definition.name)?;
            all.push((definition, state));
        }
        Ok(all)
    }

    /// A network and, if it is up, who is on it.
    ///
    /// # Errors
    ///
    /// [`NetworkError::NotFound`].
    pub fn get(&self, name: &str) -> Result<(Definition, Option<NetworkState>), NetworkError> {
        let mut all = self.list()?.into_iter();
        let found = all.find(|(definition, _)| definition.name == name);
        found.ok_or_else(|| NetworkError::NotFound(name.to_owned()))
    }

    /// A sandbox's place on its network, if it is on one.
    ///
    /// # Errors
    ///
    /// When the networks cannot be read.
    pub fn member(&self, id: &SandboxId) -> Result<Option<(Definition, Member)>, NetworkError> {
        for state in self.up()? {
            let found = state.members.into_iter().find(|member| member.id == *id);
            if let Some(member) = found {
                return Ok(Some((state.definition, member)));
            }
        }
        Ok(None)
    }

    /// Joins a sandbox to a network, which comes up if it was not.
    ///
    /// # Errors
    ///
    /// Any failure, after which nothing of it remains.
    pub fn join(&self, join: &Join<'_>) -> Result<Attachment, NetworkError> {
        let lock = host_lock()?;
        let netlink = netlink()?;
        let (mut state, mut member) = self.choose(&netlink, join)?;
        let reserved = self.reserve(join.publish)?;
        member.ports = reserved.iter().map(|reserved| reserved.port).collect();
        // Whoever had one of these ports is dying: its socket is closed and its lock not yet.
        let same = |port: &Published| {
            let ours = (port.address, port.host, port.protocol);
            member.ports.iter().any(|own| (own.address, own.host, own.protocol) == ours)
        };
        state.members.retain(|other| !other.ports.iter().any(same));
        state.members.push(member.clone());
        // Before anything is made: from here on it can be found.
        self.states.write(&state)?;
        let made = self.make(&netlink, &state, &member);
        let (owned, tap) = match made {
            Ok(made) => made,
            Err(error) => {
                // What went wrong matters more than what cannot be undone, which is found
                // again.
                let _ = self.settle(&netlink, join.network, Some(join.id));
                return Err(error);
            }
        };
        drop(lock);
        let files = files::own(&files::Own {
            hostname: join.hostname,
            address: member.address,
            gateway: state.gateway(),
            entries: join.entries,
        });
        let networks = self.clone();
        Ok(Attachment::new(Parts { networks, state, member, owned, reserved, tap, files }))
    }

    /// The network, and its member to be.
    fn choose(
        &self,
        netlink: &Netlink,
        join: &Join<'_>,
    ) -> Result<(NetworkState, Member), NetworkError> {
        // Those who were killed make room; an empty network is made anew, since what it
        // had may be somebody else's by now.
        self.settle(netlink, join.network, None)?;
        let mut state = match self.states.read(join.network)? {
            Some(state) => state,
            None => self.plan(netlink, join.network)?,
        };
        if state.members.iter().any(|member| member.id == *join.id) {
            let (member, network) = (join.id.to_string(), join.network.to_owned());
            return Err(NetworkError::Member { member, network });
        }
        let address = subnet::address(&state, join.address)?;
        if join.address.is_none() {
            state.last = address;
        }
        let mut aliases: BTreeSet<String> = join.aliases.iter().cloned().collect();
        aliases.insert(join.hostname.to_owned());
        let member = Member {
            id: join.id.clone(),
            aliases: aliases.into_iter().map(|alias| alias.to_lowercase()).collect(),
            address,
            mac: join.mac.unwrap_or_else(|| MacAddress::of(address)),
            kind: join.kind,
            owner: std::process::id().try_into().unwrap_or(0),
            dns: join.dns.to_vec(),
            ports: Vec::new(),
        };
        Ok((state, member))
    }

    /// A network that is not up, as it is to be.
    fn plan(&self, netlink: &Netlink, name: &str) -> Result<NetworkState, NetworkError> {
        let definition = if name == DEFAULT {
            let subnet = subnet::free_default(&self.taken(netlink, None)?)?;
            let gateway = subnet.hosts().next().ok_or(NetworkError::NoSubnet)?;
            Definition { name: name.to_owned(), subnet, gateway }
        } else {
            let definition = self.definitions.get(name)?;
            refuse_overlap(definition.subnet, &self.taken(netlink, Some(name))?)?;
            definition
        };
        let failed = || kernel("list", "the host's interfaces");
        let (links, (_, used)) =
            (netlink.links().map_err(failed())?, netlink.routes().map_err(failed())?);
        let is_free = |name: &String| links.iter().all(|link| link.name != *name);
        let mut bridges = (0..u16::MAX).map(|number| format!("{BRIDGES}{number}"));
        let uplinks = links.iter().filter(|link| used.contains(&link.index));
        let smallest = uplinks.filter_map(|link| u16::try_from(link.mtu).ok()).min();
        Ok(NetworkState {
            bridge: bridges.find(is_free).ok_or(NetworkError::NoSubnet)?,
            mtu: smallest.unwrap_or(MTU).clamp(576, MTU),
            last: definition.gateway,
            members: Vec::new(),
            definition,
        })
    }

    /// What of the host's addresses is spoken for, but for what `except` has.
    fn taken(
        &self,
        netlink: &Netlink,
        except: Option<&str>,
    ) -> Result<Vec<Taken>, NetworkError> {
        let routes = netlink.routes().map_err(kernel("list", "the host's routes"))?;
        let mut taken = routes.0;
        for other in self.definitions.all()? {
            if Some(other.name.as_str()) != except {
                taken.push(Taken {
                    subnet: other.subnet,
                    by: format!("network {}", other.name),
                });
            }
        }
        Ok(taken)
    }

    fn reserve(&self, publish: &[Publish]) -> Result<Vec<Reserved>, NetworkError> {
        if publish.is_empty() {
            return Ok(Vec::new());
        }
        let up = self.up()?;
        publish.iter().map(|publish| reserve::reserve(publish, &up)).collect()
    }

    /// All networks that are up.
    fn up(&self) -> Result<Vec<NetworkState>, NetworkError> {
        let mut up = Vec::new();
        for name in self.states.names()? {
            up.extend(self.states.read(&name)?);
        }
        Ok(up)
    }

    /// Makes what is written down of the network, as far as it is not there, and the
    /// member's part on this side.
    fn make(
        &self,
        netlink: &Netlink,
        state: &NetworkState,
        member: &Member,
    ) -> Result<(Lock, Option<File>), NetworkError> {
        let name = &state.definition.name;
        let path = self.states.member(name, &member.id);
        let owned = Lock::try_take(&path)?.ok_or_else(|| NetworkError::Member {
            member: member.id.to_string(),
            network: name.clone(),
        })?;
        let bridge = self.bridge(netlink, state)?;
        // Before the member is connected: it never speaks without.
        firewall::apply(state)?;
        forwarding::open(netlink, &state.bridge)?;
        holder::ensure(self, state)?;
        let tap = match member.kind {
            Kind::Veth => None,
            Kind::Tap => Some(connect_tap(netlink, &member.interface(), bridge, state.mtu)?),
        };
        Ok((owned, tap))
    }

    /// Makes the bridge, or what is missing of it, and gives its index.
    fn bridge(&self, netlink: &Netlink, state: &NetworkState) -> Result<u32, NetworkError> {
        let name = &state.bridge;
        let failed = || kernel("make the bridge", name.clone());
        if netlink.link(name).map_err(failed())?.is_none() {
            let mac = MacAddress::of(state.gateway());
            netlink.add_bridge(name, mac, state.mtu).map_err(failed())?;
        }
        let missing = || std::io::Error::from_raw_os_error(libc::ENODEV);
        let link = netlink.link(name).map_err(failed())?;
        let index = link.ok_or_else(missing).map_err(failed())?.index;
        netlink.set_alias(index, &self.alias(state)).map_err(failed())?;
        sysctl::without_ipv6(name).map_err(failed())?;
        sysctl::set_ipv4(name, "route_localnet", "1")?;
        netlink.add_address(index, state.gateway(), state.subnet()).map_err(failed())?;
        netlink.bring_up(index, None).map_err(failed())?;
        Ok(index)
    }

    /// What a bridge says of itself: whose it is.
    fn alias(&self, state: &NetworkState) -> String {
        let text = format!("bulkhead {} {}", state.definition.name, self.root.display());
        // IFALIASZ, linux/if.h, with its terminator.
        text.chars().take(200).collect()
    }

    /// Takes `gone`, and whoever was killed, off a network; the last takes the network
    /// down. The host's lock is held. Says who was killed.
    pub(crate) fn settle(
        &self,
        netlink: &Netlink,
        name: &str,
        gone: Option<&SandboxId>,
    ) -> Result<Vec<SandboxId>, NetworkError> {
        let Some(mut state) = self.states.read(name)? else {
            // Killed before the first word was written: nothing was made.
            self.states.remove(name)?;
            return Ok(Vec::new());
        };
        let is_gone = |member: &Member| {
            Some(&member.id) == gone || !lock::is_held(&self.states.member(name, &member.id))
        };
        let (leaving, staying) =
            std::mem::take(&mut state.members).into_iter().partition(is_gone);
        state.members = staying;
        for member in &leaving as &Vec<Member> {
            let interface = member.interface();
            netlink.remove_link(&interface).map_err(kernel("remove", interface))?;
        }
        if state.members.is_empty() {
            self.take_down(netlink, &state)?;
        } else if !leaving.is_empty() {
            firewall::apply(&state)?;
            self.states.write(&state)?;
            for member in &leaving {
                let _ = fs::remove_file(self.states.member(name, &member.id));
            }
        }
        if !state.members.is_empty() && !self.is_holder {
            holder::ensure(self, &state)?;
        }
        let killed = leaving.into_iter().map(|member| member.id);
        Ok(killed.filter(|id| Some(id) != gone).collect())
    }

    /// Removes all of a network; its record last, by which the rest is found.
    fn take_down(&self, netlink: &Netlink, state: &NetworkState) -> Result<(), NetworkError> {
        let failed = || kernel("remove the bridge", state.bridge.clone());
        let link = netlink.link(&state.bridge).map_err(failed())?;
        // One of another root has the same name only if ours was never made.
        let is_ours =
            link.is_none_or(|link| link.alias.is_empty() || link.alias == self.alias(state));
        if is_ours {
            firewall::remove(&state.bridge)?;
            netlink.remove_link(&state.bridge).map_err(failed())?;
        }
        forwarding::close_after_last(netlink)?;
        let name = &state.definition.name;
        let holder = File::open(self.states.holder(name)).ok();
        self.states.remove(name)?;
        if let Some(holder) = holder.filter(|_| !self.is_holder) {
            holder::await_end(&holder);
        }
        Ok(())
    }

    /// Takes a member off its network.
    pub(crate) fn leave(&self, name: &str, id: &SandboxId) -> Result<(), NetworkError> {
        let _lock = host_lock()?;
        self.settle(&netlink()?, name, Some(id)).map(drop)
    }

    /// Starts the process that answers for names anew, if it died and is needed.
    pub(crate) fn repair(&self, name: &str) -> Result<(), NetworkError> {
        let _lock = host_lock()?;
        self.settle(&netlink()?, name, None).map(drop)
    }

    /// Takes off their networks, or with `dry_run` only finds, those who were killed, takes
    /// down networks that nobody is on, and has names answered for again where that ended.
    ///
    /// # Errors
    ///
    /// When something could not be removed.
    pub fn collect(&self, dry_run: bool) -> Result<Vec<Found>, NetworkError> {
        let mut found = Vec::new();
        if self.states.names()?.is_empty() {
            return Ok(found);
        }
        let _lock = host_lock()?;
        let netlink = netlink()?;
        for network in self.states.names()? {
            let members = self.states.read(&network)?.map_or(Vec::new(), |state| state.members);
            if members.is_empty() {
                found.push(Found { network: network.clone(), member: None });
            }
            let dead = members
                .into_iter()
                .filter(|member| !lock::is_held(&self.states.member(&network, &member.id)));
            found.extend(
                dead.map(|member| Found { network: network.clone(), member: Some(member.id) }),
            );
            if !dry_run {
                self.settle(&netlink, &network, None)?;
            }
        }
        Ok(found)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn states(&self) -> &States {
        &self.states
    }

    pub(crate) fn definitions(&self) -> &Definitions {
        &self.definitions
    }

    pub(crate) fn holder(&self) -> &[OsString] {
        &self.holder
    }
}

/// A tap that is up and a port of the bridge.
fn connect_tap(
    netlink: &Netlink,
    name: &str,
    bridge: u32,
    mtu: u16,
) -> Result<File, NetworkError> {
    let failed = || kernel("make the tap", name);
    let tap = tap::create(name).map_err(failed())?;
    let missing = || std::io::Error::from_raw_os_error(libc::ENODEV);
    let link = netlink.link(name).map_err(failed())?;
    let index = link.ok_or_else(missing).map_err(failed())?.index;
    sysctl::without_ipv6(name).map_err(failed())?;
    netlink.set_mtu(index, mtu).map_err(failed())?;
    netlink.bring_up(index, Some(bridge)).map_err(failed())?;
    Ok(tap)
}

fn refuse_overlap(subnet: Ipv4Net, taken: &[Taken]) -> Result<(), NetworkError> {
    match subnet::overlapping(&subnet, taken) {
        Some(other) => Err(NetworkError::Overlap { subnet, with: other.by.clone() }),
        None => Ok(()),
    }
}

/// Leave to change networks, which only root has.
pub(crate) fn host_lock() -> Result<Lock, NetworkError> {
    if !rustix::process::geteuid().is_root() {
        return Err(NetworkError::NotRoot);
    }
    Lock::host()
}

pub(crate) fn netlink() -> Result<Netlink, NetworkError> {
    Netlink::open().map_err(kernel("talk to", "the kernel's network code"))
}
