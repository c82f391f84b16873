//! Ports of a sandbox that are shown on the host.

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What speaks at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Name as in `80/tcp`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Protocol {
    type Err = ParsePortError;

    fn from_str(text: &str) -> Result<Self, ParsePortError> {
        match text {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            _ => Err(ParsePortError::Protocol(text.to_owned())),
        }
    }
}

/// A port that is to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish {
    /// At which address of the host; all when none.
    pub address: Option<Ipv4Addr>,
    /// Port of the host; any free one when none.
    pub host: Option<u16>,
    /// Port of the sandbox.
    pub guest: u16,
    /// Of what.
    pub protocol: Protocol,
}

/// A port that is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// At which address of the host; unspecified for all.
    pub address: Ipv4Addr,
    /// Port of the host.
    pub host: u16,
    /// Port of the sandbox.
    pub guest: u16,
    /// Of what.
    pub protocol: Protocol,
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, host, guest, protocol } = self;
        write!(f, "{guest}/{protocol} -> {address}:{host}")
    }
}

/// Not a port to publish.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParsePortError {
    /// Not the form.
    #[error("`{0}` is not a port to publish: write [[HOST-IP:]HOST-PORT:]PORT[/tcp|/udp]")]
    Form(String),
    /// Another protocol.
    #[error("`{0}` is not tcp or udp")]
    Protocol(String),
    /// Not a port number.
    #[error("`{0}` is not a port or a range of ports, 1 to 65535")]
    Number(String),
    /// Two ranges of different length.
    #[error("`{0}`: as many ports of the host are needed as of the sandbox")]
    Lengths(String),
    /// An address of the other kind.
    #[error("`{0}`: only IPv4 addresses of the host can be published at")]
    Address(String),
}

/// Reads `[[host-ip:]host-port:]port[/protocol]`, where the ports may be ranges.
///
/// # Errors
///
/// [`ParsePortError`] says what is wrong with it.
pub fn parse_publish(text: &str) -> Result<Vec<Publish>, ParsePortError> {
    let form = || ParsePortError::Form(text.to_owned());
    let (ports, protocol) = match text.split_once('/') {
        Some((ports, protocol)) => (ports, protocol.parse()?),
        None => (text, Protocol::Tcp),
    };
    if ports.starts_with('[') {
        return Err(ParsePortError::Address(text.to_owned()));
    }
    let mut parts = ports.rsplit(':');
    let guest = range(parts.next().unwrap_or_default())?;
    let host = parts.next().filter(|host| !host.is_empty()).map(range).transpose()?;
    let address = parts.next().filter(|address| !address.is_empty());
    if parts.next().is_some() {
        return Err(form());
    }
    let address = address
        .map(|address| address.parse::<Ipv4Addr>().map_err(|_| form()))
        .transpose()?
        .filter(|address| !address.is_unspecified());
    let hosts: Vec<Option<u16>> = match host {
        Some(host) => host.map(Some).collect(),
        None => vec![None; guest.len()],
    };
    if hosts.len() != guest.len() {
        return Err(ParsePortError::Lengths(text.to_owned()));
    }
    let both = guest.zip(hosts);
    Ok(both.map(|(guest, host)| Publish { address, host, guest, protocol }).collect())
}

fn range(text: &str) -> Result<RangeInclusive<u16>, ParsePortError> {
    let wrong = || ParsePortError::Number(text.to_owned());
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let (first, last) = (number(first).ok_or_else(wrong)?, number(last).ok_or_else(wrong)?);
    if first > last {
        return Err(wrong());
    }
    Ok(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(text: &str) -> Publish {
        parse_publish(text).unwrap()[0]
    }

    #[test]
    fn ports_are_read_as_docker_reads_them() {
        let tcp =
            Publish { address: None, host: Some(8080), guest: 80, protocol: Protocol::Tcp };
        assert_eq!(one("8080:80"), tcp);
        assert_eq!(one("0.0.0.0:8080:80/tcp"), tcp);
        assert_eq!(one("8080:80/udp").protocol, Protocol::Udp);
        assert_eq!(one("80"), Publish { host: None, ..tcp });
        let local = Publish { address: Some(Ipv4Addr::LOCALHOST), ..tcp };
        assert_eq!(one("127.0.0.1:8080:80"), local);
        assert_eq!(one("127.0.0.1::80"), Publish { host: None, ..local });
        let both: Vec<_> = parse_publish("8000-8002:80-82").unwrap();
        assert_eq!(
            both.iter().map(|p| (p.host, p.guest)).collect::<Vec<_>>(),
            [(Some(8000), 80), (Some(8001), 81), (Some(8002), 82)]
        );
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for wrong in
            ["", ":", "0:80", "80:0", "x:80", "1.2.3:1:2", "65536", "2-1", "1-2:3", "80/sctp"]
        {
            assert!(parse_publish(wrong).is_err(), "{wrong}");
        }
        assert!(matches!(parse_publish("[::1]:80:80"), Err(ParsePortError::Address(_))));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let _ = parse_publish(&text);
        }
    }
}
