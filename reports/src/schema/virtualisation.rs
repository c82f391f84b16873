//! What the host's KVM is made of.

use serde::{Deserialize, Serialize};

use super::number;

/// What a few bytes of code on a bare virtual processor cost on this host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct VirtualisationProfile {
    /// What kind of KVM the figures show.
    pub kind: VirtualisationKind,
    /// Why, a sentence each, with the figure it rests on.
    pub reasons: Vec<String>,
    /// The figures: `vm_create`, `vcpu_create`, `first_entry`, `pio_exit`,
    /// `mmio_exit`, `cpuid_exit`, `halt_wake` in ns, `ring0_rate` and `ring3_rate`
    /// in instructions/s.
    pub figures: Vec<ProfileFigure>,
}

/// Who runs the code of a guest kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum VirtualisationKind {
    /// The processor, on the bare machine.
    Hardware,
    /// The processor, with another hypervisor between: exits are dear.
    Nested,
    /// Software that emulates the guest kernel's instructions.
    Emulated,
    /// The figures fit none of these.
    Unknown,
}

/// One figure of a [`VirtualisationProfile`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProfileFigure {
    /// What was measured.
    pub name: String,
    /// `ns` or `instructions/s`.
    pub unit: String,
    /// Every sample.
    pub samples: Vec<f64>,
    /// Their median.
    #[serde(deserialize_with = "number")]
    pub median: f64,
    /// Lower end of the median's 95 % bootstrap interval.
    #[serde(deserialize_with = "number")]
    pub low: f64,
    /// Upper end of the median's 95 % bootstrap interval.
    #[serde(deserialize_with = "number")]
    pub high: f64,
}
