//! The files by which a sandbox knows names: `/etc/hosts`, `/etc/resolv.conf` and
//! `/etc/hostname`.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use bulkhead_runtime::PlacedFile;

/// Names every machine has for itself.
const LOOPBACK: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/// A name with an address of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEntry {
    /// The name.
    pub name: String,
    /// Its address; the network's gateway when none.
    pub address: Option<IpAddr>,
}

/// What a sandbox knows of itself and where it asks.
#[derive(Debug)]
pub(crate) struct Own<'a> {
    pub hostname: &'a str,
    pub address: Ipv4Addr,
    pub gateway: Ipv4Addr,
    pub entries: &'a [HostEntry],
}

/// The files of a sandbox on a network of ours.
pub(crate) fn own(own: &Own<'_>) -> Vec<PlacedFile> {
    let mut hosts = String::from(LOOPBACK);
    let _ = writeln!(hosts, "{}\t{}", own.address, own.hostname);
    add(&mut hosts, own.entries, Some(own.gateway));
    let resolv = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    vec![
        placed("/etc/hosts", hosts),
        placed("/etc/resolv.conf", resolver(own.gateway, &resolv)),
        placed("/etc/hostname", format!("{}\n", own.hostname)),
    ]
}

/// The files of a container on the host's network: the host's own, with `entries`.
#[must_use]
pub fn host_files(entries: &[HostEntry], dns: &[Ipv4Addr]) -> Vec<PlacedFile> {
    let mut hosts = fs::read_to_string("/etc/hosts").unwrap_or_else(|_| LOOPBACK.to_owned());
    if !hosts.ends_with('\n') {
        hosts.push('\n');
    }
    add(&mut hosts, entries, Some(Ipv4Addr::LOCALHOST));
    let resolv = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let resolv = if dns.is_empty() {
        resolv
    } else {
        dns.iter().map(|server| format!("nameserver {server}\n")).collect()
    };
    vec![placed("/etc/hosts", hosts), placed("/etc/resolv.conf", resolv)]
}

/// Names go to the gateway; how they are completed is the host's way.
fn resolver(gateway: Ipv4Addr, hosts_own: &str) -> String {
    let mut text = format!("nameserver {gateway}\n");
    for line in hosts_own.lines().map(str::trim) {
        if line.starts_with("search ") || line.starts_with("domain ") {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

fn add(hosts: &mut String, entries: &[HostEntry], gateway: Option<Ipv4Addr>) {
    for HostEntry { name, address } in entries {
        if let Some(address) = address.or(gateway.map(IpAddr::V4)) {
            let _ = writeln!(hosts, "{address}\t{name}");
        }
    }
}

fn placed(path: &str, content: String) -> PlacedFile {
    PlacedFile { path: path.to_owned(), content: content.into_bytes() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_knows_itself_and_where_to_ask() {
        let entries = [
            HostEntry { name: "db".into(), address: Some(IpAddr::from([10, 1, 2, 3])) },
            HostEntry { name: "outside".into(), address: None },
        ];
        let (address, gateway) = ([10, 88, 0, 2].into(), [10, 88, 0, 1].into());
        let files = own(&Own { hostname: "web", address, gateway, entries: &entries });
        let text = |path: &str| {
            let file = files.iter().find(|file| file.path == path).unwrap();
            String::from_utf8(file.content.clone()).unwrap()
        };
        let hosts = text("/etc/hosts");
        assert!(
            hosts.ends_with("10.88.0.2\tweb\n10.1.2.3\tdb\n10.88.0.1\toutside\n"),
            "{hosts}"
        );
        assert!(text("/etc/resolv.conf").starts_with("nameserver 10.88.0.1\n"));
        assert_eq!(text("/etc/hostname"), "web\n");
        let resolv = resolver(gateway, "nameserver 1.1.1.1\nsearch a.example\noptions ndots:9");
        assert_eq!(resolv, "nameserver 10.88.0.1\nsearch a.example\n");
    }
}
