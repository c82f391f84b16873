//! Which network a sandbox is asked to be on.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::DEFAULT;

/// Which network a sandbox is on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum NetworkMode {
    /// Nothing but loopback.
    #[default]
    None,
    /// The host's own, which only a container can be on.
    Host,
    /// The one of this name.
    Named(String),
}

impl From<String> for NetworkMode {
    fn from(text: String) -> Self {
        match text.as_str() {
            "none" => Self::None,
            "host" => Self::Host,
            // Docker's word for what a container gets that asks for nothing.
            "default" => Self::Named(DEFAULT.to_owned()),
            _ => Self::Named(text),
        }
    }
}

impl FromStr for NetworkMode {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(text.to_owned().into())
    }
}

impl From<NetworkMode> for String {
    fn from(mode: NetworkMode) -> Self {
        mode.to_string()
    }
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Host => "host",
            Self::Named(name) => name,
        })
    }
}
