//! Whether this host passes packets on.
//!
//! A packet is passed on where the interface it came in by says so. Ours do; those of the
//! host that lead anywhere must too, for answers and for what is published. Where one did
//! not before, it is made to, and a rule keeps it from passing on anything else than it
//! would have: the host does not become a router. Which interfaces these are is kept in the
//! kernel itself, in the set of that rule, so that whoever takes the last network down
//! knows what to undo, whoever did it.

use serde_json::Value;

use crate::error::{NetworkError, kernel};
use crate::firewall::{self, BRIDGES};
use crate::netlink::Netlink;
use crate::sysctl;

/// The table with the rule.
const TABLE: &str = "bulkhead";

const SETTING: &str = "forwarding";

/// Has `bridge`, and whatever the host has routes by, pass packets on.
pub(crate) fn open(netlink: &Netlink, bridge: &str) -> Result<(), NetworkError> {
    let failed = || kernel("list", "the host's routes");
    let (_, interfaces) = netlink.routes().map_err(failed())?;
    let closed: Vec<String> = netlink
        .links()
        .map_err(failed())?
        .into_iter()
        .filter(|link| interfaces.contains(&link.index))
        .map(|link| link.name)
        .filter(|name| !name.starts_with(BRIDGES) && name != "lo")
        .filter(|name| sysctl::ipv4(name, SETTING).as_deref() == Some("0"))
        .collect();
    if !closed.is_empty() {
        // Noted before it is done: what was off is put off again.
        firewall::run(TABLE, &rules(&closed))?;
        for name in &closed {
            sysctl::set_ipv4(name, SETTING, "1")?;
        }
    }
    if sysctl::ipv4(bridge, SETTING).as_deref() == Some("1") {
        return Ok(());
    }
    sysctl::set_ipv4(bridge, SETTING, "1")
}

/// Undoes that, once the last of our bridges is gone.
pub(crate) fn close_after_last(netlink: &Netlink) -> Result<(), NetworkError> {
    let links = netlink.links().map_err(kernel("list", "the host's interfaces"))?;
    if links.iter().any(|link| link.name.starts_with(BRIDGES)) {
        return Ok(());
    }
    let Ok(listed) = firewall::list(TABLE, &["set", "inet", TABLE, "opened"]) else {
        // There is no such table: nothing was opened.
        return Ok(());
    };
    for name in opened(&listed) {
        // One that is gone has nothing to undo.
        if sysctl::ipv4(&name, SETTING).is_some() {
            sysctl::set_ipv4(&name, SETTING, "0")?;
        }
    }
    firewall::run(TABLE, &format!("delete table inet {TABLE}\n")).map(drop)
}

fn rules(closed: &[String]) -> String {
    let names: Vec<_> = closed.iter().map(|name| format!("\"{name}\"")).collect();
    // Each part is added only where it is not there yet; the chain is filled anew.
    format!(
        "add table inet {TABLE}\n\
         add set inet {TABLE} opened {{ type ifname; }}\n\
         add element inet {TABLE} opened {{ {} }}\n\
         add chain inet {TABLE} onwards {{ type filter hook forward priority filter; }}\n\
         flush chain inet {TABLE} onwards\n\
         add rule inet {TABLE} onwards iifname @opened oifname != \"{BRIDGES}*\" drop\n",
        names.join(", ")
    )
}

/// The interfaces in a set, as `nft -j` lists it.
fn opened(listed: &str) -> Vec<String> {
    let listed: Value = serde_json::from_str(listed).unwrap_or_default();
    let items = listed["nftables"].as_array().into_iter().flatten();
    let sets = items.filter_map(|item| item["set"]["elem"].as_array());
    let names = sets.flatten().filter_map(Value::as_str);
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interfaces_that_were_opened_are_read_back() {
        let listed = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"set": {"family":
            "inet", "name": "opened", "type": "ifname", "elem": ["eth0", "wlan0"]}}]}"#;
        assert_eq!(opened(listed), ["eth0", "wlan0"]);
        assert!(opened("").is_empty());
    }
}
