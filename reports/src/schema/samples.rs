//! What was measured, sample by sample.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::number;

/// One start of a sandbox, from request to release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct BootSample {
    /// Name of the runtime.
    pub runtime: String,
    /// Number of the interleaved block it belongs to.
    pub block: u32,
    /// Position within the block.
    pub position: u32,
    /// A warm-up: kept, not counted.
    pub warm_up: bool,
    /// Named clocks, nanoseconds after `request`. A microVM that is restored has
    /// `memory_mapped`, `state_restored` and, in place of `kernel_done`,
    /// `agent_ready`.
    pub clocks_ns: BTreeMap<String, u64>,
    /// KVM's counters at exit, by kernel name (microVM only).
    pub kvm: BTreeMap<String, u64>,
    /// The same counters, those that are not zero, when a named clock was seen:
    /// `kernel_done` or `agent_ready`, `workload_exec`, `first_output`. Nothing
    /// is counted before `first_guest_instruction`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kvm_at: BTreeMap<String, BTreeMap<String, u64>>,
    /// Exit code of the workload.
    pub exit_code: u8,
}

/// Memory with `count` idle sandboxes of one runtime alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DensitySample {
    /// Name of the runtime.
    pub runtime: String,
    /// Which repetition of the whole ladder.
    pub repetition: u32,
    /// Idle sandboxes alive.
    pub count: u32,
    /// Host memory used compared with none alive (fall of `MemAvailable`), bytes.
    pub used_bytes: i64,
    /// Proportional set size of the sandboxes' processes by role, bytes, all
    /// sandboxes together (`smaps_rollup`).
    pub pss_bytes: BTreeMap<String, u64>,
    /// The part of `pss_bytes` that no other process maps (`Private_Clean` and
    /// `Private_Dirty`), by role; the rest is each process's share of memory that
    /// several map. Empty where it was not read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub private_bytes: BTreeMap<String, u64>,
    /// Kernel memory charged to their cgroups, bytes, where accounted.
    pub kernel_bytes: Option<u64>,
}

/// One measurement by the probe inside a sandbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OperationSample {
    /// Name of the runtime.
    pub runtime: String,
    /// Number of the interleaved block it belongs to.
    pub block: u32,
    /// Name of the operation: `getppid`, `open_close`, …
    pub operation: String,
    /// How often it was done.
    pub iterations: u64,
    /// Time for each, nanoseconds.
    #[serde(deserialize_with = "number")]
    pub ns_per_operation: f64,
}

/// One measured value of a workload that needs no record of its own: start
/// storm, memory bandwidth, files, exec, teardown, a user's own command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Measurement {
    /// Name of the workload: `storm`, `files`, `custom`, …
    pub workload: String,
    /// What was measured, with its parameter where there is one:
    /// `read sequential, image layer`, `8 at once: last first_output`.
    pub metric: String,
    /// `ns`, `bytes`, `bytes/s` or `count`.
    pub unit: String,
    /// Name of the runtime.
    pub runtime: String,
    /// Number of the interleaved block it belongs to.
    pub block: u32,
    /// The value, in `unit`.
    #[serde(deserialize_with = "number")]
    pub value: f64,
}

/// One way in which a user's own command ended with one runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CommandOutcome {
    /// Name of the runtime.
    pub runtime: String,
    /// Exit code of the command.
    pub exit_code: u8,
    /// SHA-256 of its standard output, in hexadecimal.
    pub stdout_sha256: String,
    /// Length of its standard output, bytes.
    pub stdout_bytes: u64,
    /// How many runs ended like this, warm-ups included.
    pub times: u32,
}

impl CommandOutcome {
    /// Whether both are the same outcome with the same runtime.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.runtime == other.runtime && self.agrees_with(other)
    }

    /// Whether exit code and output are the same.
    #[must_use]
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.exit_code == other.exit_code && self.stdout_sha256 == other.stdout_sha256
    }
}
