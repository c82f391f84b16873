//! The results file, `results.json`.
//!
//! Raw samples are always kept; the summaries beside them are what the harness
//! computed from those samples, so that a reader can check one against the
//! other. Times are nanoseconds, sizes are bytes, unless a field says otherwise.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// Version of the schema this code writes.
///
/// - 1: boot, density, syscalls, their cells, ratios and fits.
/// - 2: adds measurements of any further workload, the noise floor, the host's
///   virtualisation profile, and isolation evidence. All of it may be missing,
///   so a version 1 file reads as a run that did not measure these.
pub const SCHEMA_VERSION: u32 = 2;

/// Everything one run of the harness found out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
    /// One entry per runtime, metric and repetition of every further workload.
    #[serde(default)]
    pub measurements: Vec<Measurement>,
    /// How a user's own command ended, and what it wrote.
    #[serde(default)]
    pub outcomes: Vec<CommandOutcome>,
    /// What the harness calls a difference between a runtime and itself.
    #[serde(default)]
    pub noise: Vec<NoiseFloor>,
    /// What this host's KVM costs, measured without an operating system.
    #[serde(default)]
    pub virtualisation: Option<VirtualisationProfile>,
    /// What was attempted from inside each wall, and how it ended.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    /// What each sandbox's own processes ask of the host.
    #[serde(default)]
    pub surfaces: Vec<Surface>,
    /// Summary of each metric of each runtime.
    pub cells: Vec<Cell>,
    /// Comparison of each metric with the baseline runtime.
    pub ratios: Vec<Ratio>,
    /// Straight lines through the density samples.
    pub fits: Vec<Fit>,
    /// What was asked for and not measured, with the reason.
    pub omitted: Vec<Omission>,
    /// Where the time of the run went.
    #[serde(default)]
    pub effort: Effort,
}

/// How and when a run was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
    /// Named clocks, nanoseconds after `request`.
    pub clocks_ns: BTreeMap<String, u64>,
    /// KVM's counters at exit, by kernel name (microVM only).
    pub kvm: BTreeMap<String, u64>,
    /// The same counters, those that are not zero, when a named clock was seen:
    /// `kernel_done`, `workload_exec`. Nothing is counted before
    /// `first_guest_instruction`.
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

/// An A/A run: one runtime measured as if it were two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NoiseFloor {
    /// As in [`Cell::workload`].
    pub workload: String,
    /// As in [`Cell::metric`].
    pub metric: String,
    /// The runtime compared with itself.
    pub runtime: String,
    /// Samples on each side.
    pub n: usize,
    /// Ratio of the two medians.
    #[serde(deserialize_with = "number")]
    pub ratio: f64,
    /// Lower end of its 95 % bootstrap interval.
    #[serde(deserialize_with = "number")]
    pub low: f64,
    /// Upper end of its 95 % bootstrap interval.
    #[serde(deserialize_with = "number")]
    pub high: f64,
    /// Relative difference below which two runtimes are not told apart in this
    /// metric: 0.03 for 3 %.
    #[serde(deserialize_with = "number")]
    pub floor: f64,
}

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

/// Summary of one metric of one runtime.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cell {
    /// `boot`, `density`, `syscalls`, or as in [`Measurement::workload`].
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
    /// As in [`Cell::workload`].
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

/// A number, or `null` for one that could not be computed: JSON has no NaN, and
/// one such figure must not make the rest of a run unreadable.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}
