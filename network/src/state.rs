//! A network that is up: its bridge and who is on it.
//!
//! `<root>/.network/<name>/` has `state.json`, replaced atomically; `members/<id>`, locked by
//! whoever owns that member; and `holder`, locked by the process that answers for names. It
//! is there as long as the network has members, and nothing of the network is made before.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use bulkhead_runtime::SandboxId;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::definition::{read, write_atomically};
use crate::error::{NetworkError, file};
use crate::{Definition, MacAddress, Published};

/// Directory of the networks that are up, under the runtime root; no sandbox's name begins
/// with a dot.
const DIR: &str = ".network";

/// What connects a member to its bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A veth pair, one end in the member's network namespace.
    Veth,
    /// A tap, whose descriptor the member's monitor has.
    Tap,
}

/// One sandbox on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub id: SandboxId,
    /// Further names it is found by.
    pub aliases: BTreeSet<String>,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its hardware address.
    pub mac: MacAddress,
    /// What connects it.
    pub kind: Kind,
    /// The process that owns it.
    pub owner: i32,
    /// Resolvers for names that are none of the network's; the host's when empty.
    pub dns: Vec<Ipv4Addr>,
    /// What is shown of it on the host.
    pub ports: Vec<Published>,
}

impl Member {
    /// Name of its interface on the host: one address is never that of two.
    #[must_use]
    pub fn interface(&self) -> String {
        let kind = match self.kind {
            Kind::Veth => 'v',
            Kind::Tap => 't',
        };
        format!("bh{kind}{:08x}", u32::from(self.address))
    }
}

/// A network that is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkState {
    /// What it is.
    #[serde(flatten)]
    pub definition: Definition,
    /// Its bridge.
    pub bridge: String,
    /// Largest packet on it, bytes.
    pub mtu: u16,
    /// The address that was given out last: the next comes after it, so that one that has
    /// become free is not somebody else's at once.
    pub last: Ipv4Addr,
    /// Who is on it.
    pub members: Vec<Member>,
}

impl NetworkState {
    /// The network's addresses.
    #[must_use]
    pub fn subnet(&self) -> Ipv4Net {
        self.definition.subnet
    }

    /// The host's address on it.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        self.definition.gateway
    }
}

/// Where networks that are up are kept.
#[derive(Debug, Clone)]
pub(crate) struct States {
    dir: PathBuf,
}

impl States {
    pub(crate) fn under(root: &Path) -> Self {
        Self { dir: root.join(DIR) }
    }

    /// The names of all that are up, or half made.
    pub(crate) fn names(&self) -> Result<Vec<String>, NetworkError> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(file("list", &self.dir))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(file("list", &self.dir))?.file_name();
            names.extend(name.into_string());
        }
        names.sort();
        Ok(names)
    }

    /// Directory of the one called `name`.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir(name).join("state.json")
    }

    /// The file that whoever owns a member locks.
    pub(crate) fn member(&self, name: &str, id: &SandboxId) -> PathBuf {
        self.dir(name).join("members").join(id)
    }

    /// The file that the process which answers for names locks.
    pub(crate) fn holder(&self, name: &str) -> PathBuf {
        self.dir(name).join("holder")
    }

    /// The one called `name`, if it is up.
    pub(crate) fn read(&self, name: &str) -> Result<Option<NetworkState>, NetworkError> {
        read(&self.file(name))
    }

    /// Replaces what is known of a network.
    pub(crate) fn write(&self, state: &NetworkState) -> Result<(), NetworkError> {
        let name = &state.definition.name;
        let members = self.dir(name).join("members");
        fs::create_dir_all(&members).map_err(file("create", &members))?;
        write_atomically(&self.file(name), state)
    }

    /// Forgets a network.
    pub(crate) fn remove(&self, name: &str) -> Result<(), NetworkError> {
        let dir = self.dir(name);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(file("remove", dir)(error));
            }
            _ => {}
        }
        // The last one takes the directory of all with it.
        let _ = fs::remove_dir(&self.dir);
        Ok(())
    }
}
