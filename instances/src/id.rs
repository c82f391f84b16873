//! Ids of instances.

use std::fmt;

use bulkhead_runtime::{IdError, SandboxId};
use serde::{Deserialize, Serialize};

/// Id of an instance: 64 hexadecimal digits, as docker's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceId(String);

/// Text that is no id.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not the id of an instance: 64 hexadecimal digits")]
pub struct ParseIdError(String);

impl InstanceId {
    const DIGITS: usize = 64;
    const SHORT: usize = 12;

    /// A fresh random id.
    ///
    /// # Errors
    ///
    /// When the kernel gives no random bytes.
    pub fn random() -> Result<Self, IdError> {
        Self::extend(String::new())
    }

    /// An id whose short form is the name of `sandbox` where that is possible, so that
    /// both are called the same.
    ///
    /// # Errors
    ///
    /// When the kernel gives no random bytes.
    pub fn of_sandbox(sandbox: &SandboxId) -> Result<Self, IdError> {
        let name = sandbox.as_str();
        let fits = name.len() == Self::SHORT && is_hex(name);
        Self::extend(if fits { name.to_owned() } else { String::new() })
    }

    fn extend(mut digits: String) -> Result<Self, IdError> {
        while digits.len() < Self::DIGITS {
            digits.push_str(SandboxId::random()?.as_str());
        }
        digits.truncate(Self::DIGITS);
        Ok(Self(digits))
    }

    /// All of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its first twelve digits.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..Self::SHORT]
    }

    /// A number that is as random as the id.
    pub(crate) fn seed(&self) -> u64 {
        self.0.bytes().take(16).fold(0, |seed, digit| {
            let value = char::from(digit).to_digit(16).unwrap_or(0);
            seed << 4 | u64::from(value)
        })
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl TryFrom<String> for InstanceId {
    type Error = ParseIdError;

    fn try_from(text: String) -> Result<Self, ParseIdError> {
        if text.len() == Self::DIGITS && is_hex(&text) {
            Ok(Self(text))
        } else {
            Err(ParseIdError(text))
        }
    }
}

impl From<InstanceId> for String {
    fn from(id: InstanceId) -> Self {
        id.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_with_a_random_name_is_called_as_its_instance() {
        let sandbox = SandboxId::random().unwrap();
        assert_eq!(InstanceId::of_sandbox(&sandbox).unwrap().short(), sandbox.as_str());
        let named: SandboxId = "web".parse().unwrap();
        let id = InstanceId::of_sandbox(&named).unwrap();
        assert_eq!(id.as_str().len(), 64);
        assert_ne!(id, InstanceId::of_sandbox(&named).unwrap());
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "..", "abc", &"g".repeat(64), &"A".repeat(64)] {
            assert!(InstanceId::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
