//! The results file, `results.json`.
//!
//! Raw samples are always kept; the summaries beside them are what the harness
//! computed from those samples, so that a reader can check one against the
//! other. Times are nanoseconds, sizes are bytes, unless a field says otherwise.

mod evidence;
mod run;
mod samples;
mod summaries;
mod virtualisation;

use serde::{Deserialize, Deserializer, Serialize};

pub use evidence::{Attempt, AttemptOutcome, Surface, SurfaceProcess};
pub use run::{Effort, Host, Kvm, Omission, Run, RuntimeInfo, Start, WorkloadEffort};
pub use samples::{BootSample, CommandOutcome, DensitySample, Measurement, OperationSample};
pub use summaries::{Cell, Fit, NoiseFloor, Ratio};
pub use virtualisation::{ProfileFigure, VirtualisationKind, VirtualisationProfile};

/// Version of the schema this code writes.
///
/// - 1: boot, density, syscalls, their cells, ratios and fits.
/// - 2: adds measurements of any further workload, the noise floor, the host's
///   virtualisation profile, and isolation evidence. All of it may be missing,
///   so a version 1 file reads as a run that did not measure these.
pub const SCHEMA_VERSION: u32 = 3;

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

/// A number, or `null` for one that could not be computed: JSON has no NaN, and
/// one such figure must not make the rest of a run unreadable.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
}
