//! What a workload needs, as far as it is known.

use serde::{Deserialize, Serialize};

/// How far the code inside is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// Written by those who run it.
    Own,
    /// Written by others, and not expected to do harm.
    ThirdParty,
    /// Written by anyone, and to be expected to try.
    Hostile,
}

/// The needs of a workload. What is not known is left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Needs {
    /// How far its code is trusted.
    pub trust: Option<Trust>,
    /// Time from the request to its first output, milliseconds.
    pub start_within_ms: Option<f64>,
    /// Memory of one instance, MiB.
    pub memory_mib: Option<f64>,
    /// System calls a second of one instance.
    pub system_calls_per_second: Option<f64>,
    /// Instances at the same time on one host.
    pub count: Option<u32>,
    /// Devices and kernel features of the host that it uses: `/dev/fuse`, `ebpf`, …
    pub host_features: Vec<String>,
}

/// Needs that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum NeedsError {
    /// The text is not TOML, or has a key or a value that no need has.
    #[error("not a description of needs")]
    Toml(#[source] toml::de::Error),
    /// A number that makes no sense.
    #[error("`{name}` is {value}: it must be a number above zero")]
    Number {
        /// Of which need.
        name: &'static str,
        /// The number.
        value: f64,
    },
}

impl Needs {
    /// Parses a TOML description.
    ///
    /// # Errors
    ///
    /// [`NeedsError`].
    pub fn parse(text: &str) -> Result<Self, NeedsError> {
        let needs: Self = toml::from_str(text).map_err(NeedsError::Toml)?;
        let count = needs.count.map(f64::from);
        for (name, value) in [
            ("start_within_ms", needs.start_within_ms),
            ("memory_mib", needs.memory_mib),
            ("count", count),
        ] {
            if let Some(value) = value.filter(|value| !(value.is_finite() && *value > 0.0)) {
                return Err(NeedsError::Number { name, value });
            }
        }
        let calls = needs.system_calls_per_second;
        if let Some(value) = calls.filter(|value| !(value.is_finite() && *value >= 0.0)) {
            return Err(NeedsError::Number { name: "system_calls_per_second", value });
        }
        Ok(needs)
    }

    /// These needs, and those of `other` where these say nothing.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            trust: self.trust.or(other.trust),
            start_within_ms: self.start_within_ms.or(other.start_within_ms),
            memory_mib: self.memory_mib.or(other.memory_mib),
            system_calls_per_second: self
                .system_calls_per_second
                .or(other.system_calls_per_second),
            count: self.count.or(other.count),
            host_features: if self.host_features.is_empty() {
                other.host_features
            } else {
                self.host_features
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_file_of_needs() {
        let text = "trust = \"third-party\"\nstart_within_ms = 200\nmemory_mib = 64\n\
                    system_calls_per_second = 1e4\ncount = 50\nhost_features = [\"/dev/fuse\"]\n";
        let needs = Needs::parse(text).unwrap();
        assert_eq!(needs.trust, Some(Trust::ThirdParty));
        assert_eq!((needs.start_within_ms, needs.count), (Some(200.0), Some(50)));
        assert_eq!(needs.host_features, ["/dev/fuse"]);
        assert_eq!(Needs::parse("").unwrap(), Needs::default());
    }

    #[test]
    fn what_no_need_is_is_refused() {
        for text in ["trust = \"friend\"", "speed = 1", "count = -1", "trust"] {
            assert!(matches!(Needs::parse(text), Err(NeedsError::Toml(_))), "{text}");
        }
        for text in [
            "count = 0",
            "memory_mib = -1.0",
            "start_within_ms = nan",
            "system_calls_per_second = inf",
        ] {
            assert!(matches!(Needs::parse(text), Err(NeedsError::Number { .. })), "{text}");
        }
    }

    #[test]
    fn flags_come_before_the_file() {
        let flags = Needs { trust: Some(Trust::Own), ..Needs::default() };
        let file = Needs { trust: Some(Trust::Hostile), count: Some(3), ..Needs::default() };
        let both = flags.or(file);
        assert_eq!((both.trust, both.count), (Some(Trust::Own), Some(3)));
    }

    proptest! {
        #[test]
        fn any_text_is_needs_or_an_error(text in "\\PC*") {
            let _ = Needs::parse(&text);
        }
    }
}
