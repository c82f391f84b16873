//! The rules of a network: two tables named after its bridge, replaced as a whole.
//!
//! They follow from the lease file alone, so that whoever changes that writes them anew in
//! one transaction; no rule is ever added or removed by itself.
//!
//! - In the bridge: a port speaks with the addresses of its member and no others.
//! - To the host: names and echo at the gateway, nothing else.
//! - Onwards: out, with the host's address; never to another bridge of ours. In: what
//!   belongs to a connection that was let out, and what is published.
//!
//! A published port is a destination that is rewritten, also for the host's own
//! connections and those to its loopback address: no process stands between. For that
//! the kernel has to route loopback addresses on our bridge (`route_localnet`), and what
//! comes from the bridge, or any other wire, for such an address is refused here.

use std::fmt::Write as _;
use std::io::{ErrorKind, Write as _};
use std::process::{Command, Stdio};

use crate::error::{NetworkError, kernel};
use crate::state::NetworkState;
use crate::{Protocol, Published};

/// Debian package of the program.
pub const PACKAGE: &str = "nftables";

/// How all our bridges begin.
pub(crate) const BRIDGES: &str = "bulkhead";

/// Whether the program is there.
#[must_use]
pub fn is_available() -> bool {
    let found = Command::new("nft").arg("--version").stdout(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}

/// Puts the rules of a network in the place of those it had.
pub(crate) fn apply(state: &NetworkState) -> Result<(), NetworkError> {
    run(&state.bridge, &rules(state)).map(drop)
}

/// Removes the rules of a network, if it has any.
pub(crate) fn remove(bridge: &str) -> Result<(), NetworkError> {
    run(bridge, &empty(bridge)).map(drop)
}

/// Has `nft` carry out a script, all of it or nothing.
pub(crate) fn run(table: &str, script: &str) -> Result<String, NetworkError> {
    nft(table, &["-f", "-"], script)
}

/// What `nft` lists, as JSON.
pub(crate) fn list(table: &str, what: &[&str]) -> Result<String, NetworkError> {
    nft(table, &[&["-j", "list"], what].concat(), "")
}

fn nft(table: &str, arguments: &[&str], script: &str) -> Result<String, NetworkError> {
    let failed = || kernel("run", "nft");
    let child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.map_err(|error| match error.kind() {
        ErrorKind::NotFound => NetworkError::NoNft,
        _ => failed()(error),
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(script.as_bytes()).map_err(failed())?;
    }
    let output = child.wait_with_output().map_err(failed())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    // It repeats the rules below each complaint.
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().find(|line| line.contains("rror")).unwrap_or("no reason");
    Err(NetworkError::Rules { table: table.to_owned(), said: said.trim().to_owned() })
}

/// Both tables gone, whether they were there or not.
fn empty(bridge: &str) -> String {
    let mut text = String::new();
    for family in ["inet", "bridge"] {
        let _ = writeln!(text, "add table {family} {bridge}");
        let _ = writeln!(text, "delete table {family} {bridge}");
    }
    text
}

/// The rules of a network, as `nft -f` reads them.
fn rules(state: &NetworkState) -> String {
    let (bridge, subnet, gateway) = (&state.bridge, state.subnet(), state.gateway());
    let ports: Vec<_> = state
        .members
        .iter()
        .flat_map(|member| member.ports.iter().map(move |port| (port, member.address)))
        .collect();
    let mut text = empty(bridge);
    let _ = write!(text, "{}", bridge_table(state));
    let _ = writeln!(text, "table inet {bridge} {{");
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let of = |everywhere: bool| {
            let these = ports.iter().filter(move |(port, _)| {
                port.protocol == protocol && port.address.is_unspecified() == everywhere
            });
            these.map(move |(port, address)| {
                let Published { address: at, host, guest, .. } = port;
                let key = if everywhere { host.to_string() } else { format!("{at} . {host}") };
                format!("{key} : {address} . {guest}")
            })
        };
        map(&mut text, &format!("{protocol}_any"), "inet_service", of(true));
        map(&mut text, &format!("{protocol}_at"), "ipv4_addr . inet_service", of(false));
    }
    let _ = write!(
        text,
        "\
  chain from_the_bridge {{
    type filter hook prerouting priority raw; policy accept;
    iifname \"{bridge}\" ip daddr 127.0.0.0/8 drop
    iifname \"{bridge}\" meta nfproto ipv6 drop
  }}
  chain published {{
    fib daddr type local dnat ip to ip daddr . tcp dport map @tcp_at
    fib daddr type local dnat ip to ip daddr . udp dport map @udp_at
    fib daddr type local dnat ip to tcp dport map @tcp_any
    fib daddr type local dnat ip to udp dport map @udp_any
  }}
  chain from_outside {{
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr 127.0.0.0/8 return
    jump published
  }}
  chain from_the_host {{
    type nat hook output priority -100; policy accept;
    jump published
  }}
  chain to_the_host {{
    type filter hook input priority filter; policy accept;
    iifname != \"{bridge}\" accept
    ct state established,related accept
    ip daddr {gateway} udp dport 53 accept
    ip daddr {gateway} tcp dport 53 accept
    ip daddr {gateway} icmp type echo-request accept
    drop
  }}
  chain onwards {{
    type filter hook forward priority filter; policy accept;
    iifname != \"{bridge}\" oifname != \"{bridge}\" accept
    iifname \"{bridge}\" ip saddr != {subnet} drop
    ct state established,related accept
    ct status dnat accept
    ct state invalid drop
    iifname \"{bridge}\" oifname \"{bridge}\" accept
    iifname \"{bridge}\" oifname \"{BRIDGES}*\" drop
    oifname \"{bridge}\" drop
  }}
  chain out {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {subnet} oifname != \"{bridge}\" masquerade
    ip saddr {subnet} oifname \"{bridge}\" ct status dnat masquerade
    ip saddr 127.0.0.0/8 oifname \"{bridge}\" masquerade
  }}
}}
"
    );
    text
}

/// Who may speak through which port of the bridge.
fn bridge_table(state: &NetworkState) -> String {
    let bridge = &state.bridge;
    let members = state.members.iter().map(|member| {
        format!("\"{}\" . {} . {}", member.interface(), member.mac, member.address)
    });
    let interfaces = state.members.iter().map(|member| format!("\"{}\"", member.interface()));
    let mut text = format!("table bridge {bridge} {{\n");
    let _ = writeln!(text, "  set ports {{\n    type ifname");
    elements(&mut text, interfaces);
    let _ = writeln!(text, "  set members {{\n    type ifname . ether_addr . ipv4_addr");
    elements(&mut text, members);
    let _ = write!(
        text,
        "\
  chain from_members {{
    type filter hook prerouting priority filter; policy accept;
    iifname != @ports accept
    ether type arp iifname . ether saddr . arp saddr ip @members \
         iifname . arp saddr ether . arp saddr ip @members accept
    ether type ip iifname . ether saddr . ip saddr @members accept
    drop
  }}
}}
"
    );
    text
}

fn map(text: &mut String, name: &str, key: &str, items: impl Iterator<Item = String>) {
    let _ = writeln!(text, "  map {name} {{\n    type {key} : ipv4_addr . inet_service");
    elements(text, items);
}

fn elements(text: &mut String, items: impl Iterator<Item = String>) {
    let items: Vec<_> = items.collect();
    if !items.is_empty() {
        let _ = writeln!(text, "    elements = {{ {} }}", items.join(", "));
    }
    text.push_str("  }\n");
}
