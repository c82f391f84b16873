//! Rates of devices, as people write them.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::SpecError;

/// So much of a device in a second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttle {
    /// The device's node.
    pub path: PathBuf,
    /// Bytes or operations.
    pub rate: u64,
}

/// Text that is no rate of a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a device and its rate a second, such as /dev/sda:1mb")]
pub struct ParseThrottleError;

impl FromStr for Throttle {
    type Err = ParseThrottleError;

    /// `PATH:RATE`, with docker's suffixes `b`, `k`, `m`, `g` (powers of 1024).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (path, rate) = text.rsplit_once(':').ok_or(ParseThrottleError)?;
        let digits = rate.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match rate[digits.len()..].to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" => 10,
            "m" | "mb" => 20,
            "g" | "gb" => 30,
            _ => return Err(ParseThrottleError),
        };
        let number: u64 = digits.parse().map_err(|_| ParseThrottleError)?;
        let rate = number.checked_mul(1 << shift).filter(|rate| *rate > 0);
        let rate = rate.filter(|_| path.starts_with('/')).ok_or(ParseThrottleError)?;
        Ok(Self { path: path.into(), rate })
    }
}

impl Throttle {
    /// Major and minor number of the device.
    pub(super) fn device(&self) -> Result<(i64, i64), SpecError> {
        let node = self.path.metadata().ok().filter(|node| node.file_type().is_block_device());
        let node = node.ok_or_else(|| SpecError::NoDevice(self.path.clone()))?.rdev();
        // gnu_dev_major(3)
        let major = node >> 8 & 0xfff | node >> 32 & !0xfff;
        let minor = node & 0xff | node >> 12 & !0xff;
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        Ok((number(major), number(minor & 0xffff_ffff)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_written_as_docker_has_them() {
        let parsed = "/dev/sda:2mb".parse::<Throttle>().unwrap();
        assert_eq!((parsed.path.to_str(), parsed.rate), (Some("/dev/sda"), 2 << 20));
        assert_eq!("/dev/a:b:100".parse::<Throttle>().unwrap().rate, 100);
        for wrong in ["", "/dev/sda", "/dev/sda:", "/dev/sda:0", "/dev/sda:1x", "sda:1"] {
            assert_eq!(wrong.parse::<Throttle>(), Err(ParseThrottleError), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_block_device_has_no_rate() {
        for path in ["/dev/null", "/nonexistent", "/"] {
            let throttle = Throttle { path: path.into(), rate: 1 };
            assert!(matches!(throttle.device(), Err(SpecError::NoDevice(_))), "{path}");
        }
    }
}
