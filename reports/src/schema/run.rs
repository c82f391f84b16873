//! The run itself: when, where, which runtimes, what it left out and what its time
//! went into.

use serde::{Deserialize, Serialize};

/// How and when a run was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Run {
    /// Version of bulkhead.
    pub tool_version: String,
    /// The command line, the program by its name.
    pub command: Vec<String>,
    /// Start, RFC 3339, UTC.
    pub started: String,
    /// Length of the run, seconds.
    pub duration_seconds: u64,
    /// `default`, `full`, …
    pub profile: String,
    /// Seed of every random choice.
    pub seed: u64,
    /// The run was interrupted: the samples are those finished until then.
    pub partial: bool,
    /// Name of the image that was run.
    pub image: String,
    /// Digest of its manifest.
    pub image_digest: String,
    /// Guest kernel release and configuration hash, where a microVM ran.
    pub guest_kernel: Option<String>,
}

/// The machine a run was made on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Host {
    /// Model name of the first processor.
    pub cpu_model: String,
    /// Logical processors.
    pub cpus: u32,
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// `uname -r`.
    pub kernel: String,
    /// `PRETTY_NAME` of os-release.
    pub os: String,
    /// `v1`, `v2`, `hybrid` or `none`.
    pub cgroups: String,
    /// The host runs as a guest of a hypervisor itself.
    pub virtualised: bool,
    /// KVM as found here; `None` without a usable `/dev/kvm`.
    pub kvm: Option<Kvm>,
}

/// KVM as found on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Kvm {
    /// `kvm_intel`, `kvm_amd`, `kvm_pvm` or `unknown`.
    pub flavour: String,
    /// `KVM_GET_API_VERSION`.
    pub api_version: u32,
    /// Guest kernel code is emulated instruction by instruction: microVM
    /// figures from this host say nothing about microVMs on hardware.
    pub emulates_guest_kernel: bool,
}

/// One runtime that took part, or could not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RuntimeInfo {
    /// Name in every table: `native`, `container`, `microvm`, `crun`, … A runtime
    /// that takes part with a second way of starting has one more entry for it,
    /// named by [`Start::named`]: `microvm-warm`.
    pub name: String,
    /// Kind of wall: `native`, `container` or `microvm`.
    pub isolation: String,
    /// Its version.
    pub version: String,
    /// Why it could not take part; empty when it did.
    pub unavailable: Vec<String>,
    /// The runtime, where `name` says how its sandboxes are started as well:
    /// `microvm` of `microvm-warm`.
    #[serde(default)]
    pub runtime: Option<String>,
    /// How its sandboxes are started.
    #[serde(default)]
    pub start: Start,
}

impl RuntimeInfo {
    /// The runtime itself, however its sandboxes are started.
    #[must_use]
    pub fn runtime(&self) -> &str {
        self.runtime.as_deref().unwrap_or(&self.name)
    }
}

/// How a sandbox is started.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord, Serialize, Deserialize,
)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// From nothing: a container is set up, a microVM boots.
    #[default]
    Cold,
    /// From what was prepared once for many: a container from mounts that are
    /// there, a microVM restored from a snapshot.
    Warm,
    /// From a pool: the sandbox was there, and waited to be asked for.
    Pool,
    /// From a microVM that was saved when its application was ready: nothing is
    /// executed any more. Since version 3.
    App,
}

impl Start {
    /// Name of `runtime` in results when its sandboxes are started like this.
    #[must_use]
    pub fn named(self, runtime: &str) -> String {
        match self {
            Self::Cold => runtime.to_owned(),
            Self::Warm | Self::Pool | Self::App => format!("{runtime}-{}", self.as_str()),
        }
    }

    /// In a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Warm => "warm",
            Self::Pool => "pool",
            Self::App => "app",
        }
    }
}

/// Something that was asked for and not measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Omission {
    /// `boot`, `density`, `syscalls`, or an operation of one.
    pub workload: String,
    /// Name of the runtime.
    pub runtime: String,
    /// Why, as a sentence.
    pub reason: String,
}

/// How long a run was meant to be, how far it got, and what measuring cost.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Effort {
    /// The exact number of counted blocks that was asked for.
    pub exact_blocks: Option<u32>,
    /// The time that was asked for, seconds.
    pub time_budget_seconds: Option<u64>,
    /// How often the run was interrupted and continued.
    pub resumed: u32,
    /// How far each workload got.
    pub workloads: Vec<WorkloadEffort>,
    /// From the instant a sandbox is asked for to the call of the runtime, every
    /// sample, nanoseconds: the part of `request→…` that is the harness's own.
    pub request_to_call_ns: Vec<u64>,
    /// Time spent reading how much memory idle sandboxes take, seconds.
    pub memory_reading_seconds: f64,
    /// Time spent saving unfinished results, seconds.
    pub saving_seconds: f64,
}

/// How far one workload got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WorkloadEffort {
    /// As in `Cell::workload`.
    pub workload: String,
    /// Interleaved blocks begun: numbers of blocks are below this.
    pub blocks_begun: u32,
    /// Blocks that got to their end, warm-up included.
    pub blocks_finished: u32,
    /// Time spent on it, seconds.
    pub seconds: f64,
    /// It has all the blocks it was meant to have.
    pub complete: bool,
}
