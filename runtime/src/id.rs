//! Sandbox names.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Name of a sandbox: unique on a host, safe as a file, cgroup and host name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SandboxId(String);

/// A name that cannot be used for a sandbox.
#[derive(Debug, thiserror::Error)]
pub enum IdError {
    /// Empty, too long, or with characters outside the allowed set.
    #[error(
        "`{0}` is not a sandbox name: use 1 to 63 letters, digits, `_`, `.` or `-`, \
         beginning with a letter or digit"
    )]
    Invalid(String),
    /// The kernel gave no random bytes.
    #[error("cannot draw a random sandbox name")]
    Random(#[source] std::io::Error),
}

impl SandboxId {
    /// Longest name: the Linux host name limit minus the terminator
    /// (`HOST_NAME_MAX`, limits.h).
    pub const MAX_LEN: usize = 63;

    /// A fresh random name of twelve hexadecimal digits, as docker's short ids.
    ///
    /// # Errors
    ///
    /// [`IdError::Random`] when `getrandom(2)` fails.
    pub fn random() -> Result<Self, IdError> {
        let mut bytes = [0_u8; 6];
        // SAFETY: `bytes` is valid for writes of its own length.
        let drawn = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        if usize::try_from(drawn) != Ok(bytes.len()) {
            return Err(IdError::Random(std::io::Error::last_os_error()));
        }
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SandboxId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let starts_well = text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
        let all_allowed = text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
        if starts_well && all_allowed && text.len() <= Self::MAX_LEN {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError::Invalid(text.to_owned()))
        }
    }
}

impl TryFrom<String> for SandboxId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<SandboxId> for String {
    fn from(id: SandboxId) -> Self {
        id.0
    }
}

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<Path> for SandboxId {
    fn as_ref(&self) -> &Path {
        Path::new(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_names_that_escape_or_hide() {
        for bad in ["", ".", "..", "a/b", "-a", ".a", "a b", "a\n", &"x".repeat(64)] {
            assert!(bad.parse::<SandboxId>().is_err(), "{bad:?}");
        }
        for good in ["a", "web-1", "0f3c9a", "A_b.c", &"x".repeat(63)] {
            assert!(good.parse::<SandboxId>().is_ok(), "{good:?}");
        }
    }

    proptest! {
        #[test]
        fn an_accepted_name_is_one_path_component(text in ".{0,70}") {
            if let Ok(id) = text.parse::<SandboxId>() {
                let components: Vec<_> = Path::new(id.as_str()).components().collect();
                prop_assert!(matches!(components[..], [std::path::Component::Normal(_)]));
            }
        }
    }

    #[test]
    fn random_names_differ() {
        assert_ne!(SandboxId::random().unwrap(), SandboxId::random().unwrap());
    }
}
