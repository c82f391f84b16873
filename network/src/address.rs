//! Hardware addresses.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A hardware address that one interface can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

/// Not the hardware address of one interface.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the hardware address of one interface, such as 02:00:00:00:00:01")]
pub struct ParseMacError(String);

impl MacAddress {
    /// The one of whoever has `address`: the same address never has two, so that what
    /// others remember of it stays true.
    pub(crate) fn of(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        // Bit 1 of the first byte: locally administered (IEEE 802, 8.2).
        Self([0x02, 0xb0, a, b, c, d])
    }
}

impl FromStr for MacAddress {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, ParseMacError> {
        let wrong = || ParseMacError(text.to_owned());
        let mut bytes = [0_u8; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        // Bit 0 of the first byte: a group's.
        if parts.next().is_some() || bytes[0] & 1 != 0 || bytes == [0; 6] {
            return Err(wrong());
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl TryFrom<String> for MacAddress {
    type Error = ParseMacError;

    fn try_from(text: String) -> Result<Self, ParseMacError> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(address: MacAddress) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written() {
        let address: MacAddress = "02:b0:0A:58:00:02".parse().unwrap();
        assert_eq!(address.to_string(), "02:b0:0a:58:00:02");
        assert_eq!(address, MacAddress::of(Ipv4Addr::new(10, 88, 0, 2)));
        for wrong in ["", "02:b0", "01:00:00:00:00:01", "00:00:00:00:00:00", "2:b:a:5:0:2"] {
            assert!(wrong.parse::<MacAddress>().is_err(), "{wrong}");
        }
        assert!("02:00:00:00:00:01:02".parse::<MacAddress>().is_err());
    }
}
