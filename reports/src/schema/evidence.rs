//! What each wall let through, and what it asks of the host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One attempt to get out of, or to harm others from within, a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Attempt {
    /// Name of the runtime.
    pub runtime: String,
    /// What was attempted: `host_processes`, `mount`, `fork_bomb`, …
    pub attempt: String,
    /// How it ended, as the host saw it.
    pub outcome: AttemptOutcome,
    /// What the host observed, a sentence.
    pub evidence: String,
    /// What the program inside said; never what `outcome` rests on alone.
    pub inside: String,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// It succeeded against the host.
    Reached,
    /// It succeeded, against something of the sandbox's own only.
    Contained,
    /// It was refused.
    Refused,
    /// A limit ended it.
    Limited,
    /// It was not attempted; `evidence` says why.
    NotRun,
}

/// What the processes of one sandbox can and do ask of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Surface {
    /// Name of the runtime.
    pub runtime: String,
    /// What was run while the calls were counted.
    pub workload: String,
    /// System calls that reached the host's kernel, by name, with their number.
    pub system_calls: BTreeMap<String, u64>,
    /// The host processes of the sandbox and what they hold.
    pub processes: Vec<SurfaceProcess>,
}

/// One host process of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SurfaceProcess {
    /// `workload`, `monitor` or `helper`.
    pub role: String,
    /// Effective capabilities on the host, by name (`CAP_NET_ADMIN`).
    pub capabilities: Vec<String>,
    /// Namespaces it does not share with the harness: `pid`, `mnt`, …
    pub namespaces: Vec<String>,
    /// A seccomp filter is loaded (`Seccomp:` of proc_pid_status(5) is 2).
    pub seccomp_filter: bool,
    /// `NoNewPrivs:` of proc_pid_status(5).
    pub no_new_privileges: bool,
}
