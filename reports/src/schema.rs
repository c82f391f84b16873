//! The results file, `results.json`.
//!
//! Raw samples are always kept; the summaries beside them are what the harness
//! computed from those samples, so that a reader can check one against the
//! other. Times are nanoseconds, sizes are bytes, unless a field says otherwise.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// Version of the schema this code writes.
pub const SCHEMA_VERSION: u32 = 1;

/// Everything one run of the harness found out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Version of this schema.
    pub schema_version: u32,
    /// How and when the run was made.
    pub run: Run,
    /// The machine it ran on.
    pub host: Host,
    /// The runtimes that were compared, the baseline first.
    pub runtimes: Vec<RuntimeInfo>,
    /// One entry per sandbox that was started for the boot workload.
    pub boot: Vec<BootSample>,
    /// One entry per runtime and number of idle sandboxes.
    pub density: Vec<DensitySample>,
    /// One entry per runtime, operation and repetition.
    pub syscalls: Vec<OperationSample>,
    /// Summary of each metric of each runtime.
    pub cells: Vec<Cell>,
    /// Comparison of each metric with the baseline runtime.
    pub ratios: Vec<Ratio>,
    /// Straight lines through the density samples.
    pub fits: Vec<Fit>,
    /// What was asked for and not measured, with the reason.
    pub omitted: Vec<Omission>,
}

/// How and when a run was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Version of bulkhead.
    pub tool_version: String,
    /// The command line.
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
pub struct RuntimeInfo {
    /// Name in every table: `native`, `container`, `microvm`, `crun`, …
    pub name: String,
    /// Kind of wall: `native`, `container` or `microvm`.
    pub isolation: String,
    /// Its version.
    pub version: String,
    /// Why it could not take part; empty when it did.
    pub unavailable: Vec<String>,
}

/// One start of a sandbox, from request to release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootSample {
    /// Name of the runtime.
    pub runtime: String,
    /// Number of the interleaved block it belongs to.
    pub block: u32,
    /// Position within the block.
    pub position: u32,
    /// A warm-up: kept, not counted.
    pub warm_up: bool,
    /// Named clocks, nanoseconds after `request`.
    pub clocks_ns: BTreeMap<String, u64>,
    /// KVM's counters at exit, by kernel name (microVM only).
    pub kvm: BTreeMap<String, u64>,
    /// Exit code of the workload.
    pub exit_code: u8,
}

/// Memory with `count` idle sandboxes of one runtime alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Kernel memory charged to their cgroups, bytes, where accounted.
    pub kernel_bytes: Option<u64>,
}

/// One measurement by the probe inside a sandbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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

/// Summary of one metric of one runtime.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// `boot`, `density` or `syscalls`.
    pub workload: String,
    /// What was measured: `request→first_output`, `getppid`, …
    pub metric: String,
    /// Name of the runtime.
    pub runtime: String,
    /// `ns`, `bytes` or `count`.
    pub unit: String,
    /// Number of samples.
    pub n: usize,
    /// Median.
    #[serde(deserialize_with = "number")]
    pub median: f64,
    /// Lower end of the median's 95 % bootstrap interval.
    #[serde(deserialize_with = "number")]
    pub low: f64,
    /// Upper end of the median's 95 % bootstrap interval.
    #[serde(deserialize_with = "number")]
    pub high: f64,
    /// Smallest sample.
    #[serde(deserialize_with = "number")]
    pub min: f64,
    /// Largest sample.
    #[serde(deserialize_with = "number")]
    pub max: f64,
    /// Median absolute deviation.
    #[serde(deserialize_with = "number")]
    pub mad: f64,
    /// 90th percentile, where `n` supports it.
    pub p90: Option<f64>,
    /// 99th percentile, where `n` supports it.
    pub p99: Option<f64>,
    /// Samples beyond Tukey's fences; counted, never dropped.
    pub outliers: usize,
}

/// Comparison of one metric between two runtimes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// As in [`Cell::workload`].
    pub workload: String,
    /// As in [`Cell::metric`].
    pub metric: String,
    /// The runtime in the numerator.
    pub runtime: String,
    /// The runtime in the denominator.
    pub baseline: String,
    /// Ratio of medians.
    #[serde(deserialize_with = "number")]
    pub ratio: f64,
    /// Lower end of its 95 % bootstrap interval.
    #[serde(deserialize_with = "number")]
    pub low: f64,
    /// Upper end of its 95 % bootstrap interval.
    #[serde(deserialize_with = "number")]
    pub high: f64,
    /// Two-sided permutation test of "no difference".
    #[serde(deserialize_with = "number")]
    pub p_value: f64,
    /// `false`: to be reported as "not distinguishable".
    pub distinguishable: bool,
}

/// A least-squares line: host memory over the number of sandboxes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// Name of the runtime.
    pub runtime: String,
    /// `used_bytes` or `pss_bytes`.
    pub metric: String,
    /// Bytes for each further sandbox.
    #[serde(deserialize_with = "number")]
    pub slope: f64,
    /// Lower end of the slope's 95 % interval.
    #[serde(deserialize_with = "number")]
    pub slope_low: f64,
    /// Upper end of the slope's 95 % interval.
    #[serde(deserialize_with = "number")]
    pub slope_high: f64,
    /// Bytes at zero sandboxes.
    #[serde(deserialize_with = "number")]
    pub intercept: f64,
    /// Number of points.
    pub n: usize,
}

/// Something that was asked for and not measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Omission {
    /// `boot`, `density`, `syscalls`, or an operation of one.
    pub workload: String,
    /// Name of the runtime.
    pub runtime: String,
    /// Why, as a sentence.
    pub reason: String,
}

/// A number, or `null` for one that could not be computed: JSON has no NaN, and
/// one such figure must not make the rest of a run unreadable.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}
