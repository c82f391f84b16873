//! What is known of a volume beside its data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Where a volume comes from, which decides when it goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Somebody named it: it stays until it is removed.
    #[default]
    Named,
    /// It belongs to a sandbox that may start again, and goes with that.
    Anonymous,
    /// It belongs to one run: whoever finds it unused may remove it.
    Ephemeral,
}

/// `volume.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// Format of this file.
    pub version: u32,
    /// When it was made, seconds since 1970.
    pub created: u64,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Where it comes from.
    #[serde(default)]
    pub origin: Origin,
}

impl VolumeRecord {
    /// The format this program writes.
    pub const VERSION: u32 = 1;

    pub(super) fn new(labels: BTreeMap<String, String>, origin: Origin) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let created = now.map_or(0, |since| since.as_secs());
        Self { version: Self::VERSION, created, labels, origin }
    }
}
