//! Signal numbers with their names.

use std::fmt;
use std::str::FromStr;

use nix::sys::signal::Signal as Named;
use serde::{Deserialize, Serialize};

/// A Linux signal, 1 to 64, real-time signals included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signal(i32);

/// Text that names no signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a signal (a name such as TERM or SIGTERM, or a number from 1 to 64)")]
pub struct ParseSignalError(String);

impl Signal {
    /// `SIGHUP`
    pub const HUP: Self = Self(libc::SIGHUP);
    /// `SIGINT`
    pub const INT: Self = Self(libc::SIGINT);
    /// `SIGKILL`
    pub const KILL: Self = Self(libc::SIGKILL);
    /// `SIGTERM`
    pub const TERM: Self = Self(libc::SIGTERM);
    /// `SIGWINCH`
    pub const WINCH: Self = Self(libc::SIGWINCH);

    /// The highest signal number on x86-64 (`_NSIG`, asm/signal.h).
    pub const MAX: i32 = 64;

    /// A signal by number, `None` outside 1 to 64.
    #[must_use]
    pub fn new(number: i32) -> Option<Self> {
        (1..=Self::MAX).contains(&number).then_some(Self(number))
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }

    /// 128 plus its number: the exit code of a process it killed.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        u8::try_from(128 + self.0).unwrap_or(u8::MAX)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Named::try_from(self.0) {
            Ok(named) => f.write_str(named.as_str()),
            Err(_) => write!(f, "signal {}", self.0),
        }
    }
}

impl FromStr for Signal {
    type Err = ParseSignalError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || ParseSignalError(text.to_owned());
        if let Ok(number) = text.parse::<i32>() {
            return Self::new(number).ok_or_else(unknown);
        }
        let upper = text.to_ascii_uppercase();
        let full = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
        let named = Named::from_str(&full).map_err(|_| unknown())?;
        Ok(Self(named as i32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_the_spellings_docker_accepts() {
        for text in ["15", "TERM", "SIGTERM", "sigterm"] {
            assert_eq!(text.parse(), Ok(Signal::TERM), "{text}");
        }
        for text in ["0", "65", "SIGFOO", "", "-1"] {
            assert!(text.parse::<Signal>().is_err(), "{text}");
        }
    }

    #[test]
    fn real_time_signals_have_numbers_only() {
        assert_eq!(Signal::new(64).unwrap().to_string(), "signal 64");
        assert_eq!(Signal::KILL.to_string(), "SIGKILL");
    }
}
