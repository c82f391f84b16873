//! Settings under `/proc/sys/net`, those of the caller's network namespace.

use std::fs;
use std::path::PathBuf;

use crate::error::{NetworkError, kernel};

/// A setting of one interface.
fn path(family: &str, interface: &str, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/sys/net/{family}/conf/{interface}/{name}"))
}

/// What an IPv4 setting of `interface` is; none when there is no such interface.
pub(crate) fn ipv4(interface: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path("ipv4", interface, name)).ok()?;
    Some(text.trim().to_owned())
}

/// Changes an IPv4 setting of `interface`.
pub(crate) fn set_ipv4(interface: &str, name: &str, value: &str) -> Result<(), NetworkError> {
    let path = path("ipv4", interface, name);
    fs::write(&path, value).map_err(|error| kernel("set", path.display().to_string())(error))
}

/// Has `interface` speak no IPv6, where the kernel speaks it at all.
pub(crate) fn without_ipv6(interface: &str) -> std::io::Result<()> {
    let path = path("ipv6", interface, "disable_ipv6");
    if path.exists() { fs::write(path, "1") } else { Ok(()) }
}
