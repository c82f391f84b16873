//! What the harness computed from the samples.

use serde::{Deserialize, Serialize};

use super::number;

/// Summary of one metric of one runtime.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cell {
    /// `boot`, `density`, `syscalls`, or as in `Measurement::workload`.
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
    /// `used_bytes`, `pss_bytes` or `private_bytes`.
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
