//! What a sandbox uses on the host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Clock;

/// Resource use of one sandbox. `None` where the host does not account for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Memory it may have, or its machine has, bytes; `None` when there is no limit.
    pub memory_limit_bytes: Option<u64>,
    /// Memory charged to the sandbox now, bytes.
    pub memory_bytes: Option<u64>,
    /// Highest memory charge so far, bytes.
    pub memory_peak_bytes: Option<u64>,
    /// The part of the memory charge that is kernel memory, bytes.
    pub kernel_memory_bytes: Option<u64>,
    /// CPU time used, nanoseconds.
    pub cpu_ns: Option<u64>,
    /// Processes and threads now.
    pub pids: Option<u64>,
    /// KVM's own counters (microVM only).
    pub kvm: Option<KvmStats>,
    /// The same counters as they were at some of the named clocks (microVM only).
    #[serde(default)]
    pub kvm_at: BTreeMap<Clock, KvmStats>,
}

/// Counters from `KVM_GET_STATS_FD`, VM and vCPUs summed, by their kernel
/// names (`exits`, `insn_emulation`, `mmio_exits`, …).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KvmStats(pub BTreeMap<String, u64>);

impl KvmStats {
    /// The counter called `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }
}

/// What a host process does for a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Belongs to the workload itself.
    Workload,
    /// The virtual machine monitor; guest memory lives in it.
    Monitor,
    /// Anything else the runtime keeps beside the sandbox.
    Helper,
}

impl Role {
    /// Name in results.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Workload => "workload",
            Self::Monitor => "monitor",
            Self::Helper => "helper",
        }
    }
}

/// A process on the host that exists because of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostProcess {
    /// Process id in the host's pid namespace.
    pub pid: i32,
    /// What it does.
    pub role: Role,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_named_as_serialised() {
        for role in [Role::Workload, Role::Monitor, Role::Helper] {
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
    }
}
