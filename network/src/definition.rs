//! Networks as users made them: kept on disk, also while nobody is on them.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::error::{NetworkError, file};

/// Name of the network that needs no making.
pub const DEFAULT: &str = "bridge";

/// Words that mean something else where a network is named.
const RESERVED: [&str; 4] = ["none", "host", "default", DEFAULT];

/// A network that somebody made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub subnet: Ipv4Net,
    /// The host's address on it, where members find the way out and names.
    pub gateway: Ipv4Addr,
}

impl Definition {
    /// A network of these addresses; the first is the gateway's unless another is.
    ///
    /// # Errors
    ///
    /// When the name, the addresses or the gateway are no use.
    pub fn new(
        name: &str,
        subnet: Ipv4Net,
        gateway: Option<Ipv4Addr>,
    ) -> Result<Self, NetworkError> {
        check_name(name)?;
        let subnet = subnet.trunc();
        let (private, size) = (subnet.addr().is_private(), subnet.prefix_len());
        if !private || !(8..=29).contains(&size) {
            return Err(NetworkError::Subnet(subnet));
        }
        let gateway = gateway.or_else(|| subnet.hosts().next());
        let gateway = gateway.ok_or(NetworkError::Subnet(subnet))?;
        if !is_for_members(&subnet, gateway) {
            return Err(NetworkError::AddressOutside { address: gateway, subnet });
        }
        Ok(Self { name: name.to_owned(), subnet, gateway })
    }
}

/// Whether a single machine of `subnet` can have `address`.
pub(crate) fn is_for_members(subnet: &Ipv4Net, address: Ipv4Addr) -> bool {
    subnet.contains(&address) && address != subnet.network() && address != subnet.broadcast()
}

fn check_name(name: &str) -> Result<(), NetworkError> {
    let begins = name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if begins && name.len() < 64 && name.bytes().all(allowed) && !RESERVED.contains(&name) {
        Ok(())
    } else {
        Err(NetworkError::Name(name.to_owned()))
    }
}

/// Where definitions are kept.
#[derive(Debug, Clone)]
pub(crate) struct Definitions {
    dir: PathBuf,
}

impl Definitions {
    pub(crate) fn in_dir(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.json"))
    }

    /// All, by name.
    pub(crate) fn all(&self) -> Result<Vec<Definition>, NetworkError> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(file("list", &self.dir))?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let path = entry.map_err(file("list", &self.dir))?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                all.extend(read(&path)?);
            }
        }
        all.sort_by(|a: &Definition, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// The one called `name`.
    pub(crate) fn get(&self, name: &str) -> Result<Definition, NetworkError> {
        let missing = || NetworkError::NotFound(name.to_owned());
        check_name(name).map_err(|_| missing())?;
        read(&self.path(name))?.ok_or_else(missing)
    }

    /// Keeps a new one.
    pub(crate) fn add(&self, definition: &Definition) -> Result<(), NetworkError> {
        let path = self.path(&definition.name);
        if path.exists() {
            return Err(NetworkError::Exists(definition.name.clone()));
        }
        fs::create_dir_all(&self.dir).map_err(file("create", &self.dir))?;
        write_atomically(&path, definition)
    }

    /// Forgets one.
    pub(crate) fn remove(&self, name: &str) -> Result<(), NetworkError> {
        self.get(name)?;
        let path = self.path(name);
        fs::remove_file(&path).map_err(file("remove", path))
    }
}

/// What is in a file, if it is there.
pub(crate) fn read<T: serde::de::DeserializeOwned>(
    path: &Path,
) -> Result<Option<T>, NetworkError> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(file("read", path))?,
    };
    let value = serde_json::from_slice(&text);
    value.map(Some).map_err(|source| NetworkError::Damaged { path: path.into(), source })
}

/// Puts a file in its place whole, or not at all.
pub(crate) fn write_atomically<T: Serialize>(
    path: &Path,
    value: &T,
) -> Result<(), NetworkError> {
    let text = serde_json::to_vec_pretty(value)
        .map_err(|source| NetworkError::Damaged { path: path.into(), source })?;
    let fresh = path.with_extension("new");
    let written = fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, path));
    written.map_err(|error: io::Error| file("write", path)(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_checked() {
        let subnet: Ipv4Net = "10.90.0.7/24".parse().unwrap();
        let made = Definition::new("web", subnet, None).unwrap();
        assert_eq!(made.subnet.to_string(), "10.90.0.0/24");
        assert_eq!(made.gateway, Ipv4Addr::new(10, 90, 0, 1));
        for wrong in ["", "bridge", "none", "host", "../x", ".x", "a b", &"x".repeat(64)] {
            assert!(Definition::new(wrong, subnet, None).is_err(), "{wrong}");
        }
        for wrong in ["8.8.8.0/24", "10.0.0.0/30", "10.0.0.0/7", "127.0.0.0/8"] {
            assert!(Definition::new("web", wrong.parse().unwrap(), None).is_err(), "{wrong}");
        }
        let outside = Some(Ipv4Addr::new(10, 91, 0, 1));
        assert!(Definition::new("web", subnet, outside).is_err());
    }

    #[test]
    fn what_is_kept_is_found_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Definitions::in_dir(dir.path().join("networks"));
        assert!(kept.all().unwrap().is_empty());
        let web = Definition::new("web", "10.90.0.0/24".parse().unwrap(), None).unwrap();
        kept.add(&web).unwrap();
        assert!(matches!(kept.add(&web), Err(NetworkError::Exists(_))));
        assert_eq!((kept.all().unwrap(), kept.get("web").unwrap()), (vec![web.clone()], web));
        kept.remove("web").unwrap();
        assert!(matches!(kept.get("web"), Err(NetworkError::NotFound(_))));
        assert!(matches!(kept.get("../web"), Err(NetworkError::NotFound(_))));
    }
}
