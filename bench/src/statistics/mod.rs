//! Statistics: slices in, numbers out.
//!
//! No clock, no file and no thread is touched here, and every random choice
//! comes from a generator the caller seeds, so the same samples give the same
//! figures on every machine.
//!
//! What is computed, and why this and not something else:
//!
//! - The **median**, because start-up times have a long right tail that would
//!   make a mean a statement about the worst sample.
//! - **Percentile bootstrap** intervals. BCa would correct them with a jackknife
//!   estimate, which is not consistent for a median (Efron and Tibshirani, *An
//!   Introduction to the Bootstrap*, 10.6): every leave-one-out median is one of
//!   two or three values.
//! - A **permutation test on ranks** for "is there a difference at all": it
//!   assumes no distribution, is not swayed by one outlier, and does not change
//!   when both samples are put on a logarithmic scale, as a ratio suggests.
//! - A difference is called one ([`Comparison::is_distinguishable`]) only if the
//!   test finds it unlikely to be chance, the interval of the ratio excludes 1, and
//!   it exceeds the **noise floor**: what a runtime compared with itself in the same
//!   run shows.
//! - No interval for fewer than [`MIN_FOR_INTERVAL`] samples, and no quantile
//!   beyond which fewer than [`MIN_BEYOND_QUANTILE`] samples are expected.

mod bootstrap;
mod comparison;
mod line;
mod permutation;
mod quantile;
mod student;

pub(crate) use bootstrap::rough_median_interval;
pub use bootstrap::{Interval, RESAMPLES, median_interval, ratio_interval};
pub use comparison::{Comparison, SIGNIFICANCE, compare};
pub use line::{Line, fit_line};
pub use permutation::{RELABELLINGS, permutation_p_value};
pub use quantile::{median, median_absolute_deviation, outliers, quantile, supports_quantile};
pub use student::t_quantile;

/// The generator behind every random choice of the harness: a named algorithm,
/// so that a seed means the same everywhere and in every later version.
pub type Generator = rand::rngs::Xoshiro256PlusPlus;

/// Confidence of every interval.
pub const CONFIDENCE: f64 = 0.95;

/// Fewest samples that support a 95 % interval of a median.
///
/// Without an assumption about the distribution, even the interval from the
/// smallest to the largest sample covers the median with probability
/// 1 - 2^(1-n) only: 93.75 % for five samples, 96.9 % for six.
pub const MIN_FOR_INTERVAL: usize = 6;

/// Fewest samples to be expected beyond a quantile for it to be reported: 20
/// samples for the 90th percentile, 200 for the 99th.
pub const MIN_BEYOND_QUANTILE: f64 = 2.0;

/// A count, or an amount of nanoseconds or bytes, as a number to calculate with.
///
/// Those of the harness are far below 2^53, up to which every integer is exact.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub(crate) fn real(value: impl TryInto<i64>) -> f64 {
    value.try_into().unwrap_or(i64::MAX) as f64
}
