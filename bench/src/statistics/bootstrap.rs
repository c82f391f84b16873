//! Percentile bootstrap intervals of medians and of their ratio.

use rand::RngExt;

use super::quantile::{median_in_place, quantile_of_sorted};
use super::{CONFIDENCE, Generator, MIN_FOR_INTERVAL};

/// Resamples behind each interval: enough that its ends move by about a
/// hundredth of its width from seed to seed.
pub const RESAMPLES: usize = 10_000;

/// A confidence interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Whether `value` lies within it, ends included.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    fn of_statistics(mut statistics: Vec<f64>) -> Option<Self> {
        statistics.sort_unstable_by(f64::total_cmp);
        let tail = (1.0 - CONFIDENCE) / 2.0;
        Some(Self {
            low: quantile_of_sorted(&statistics, tail)?,
            high: quantile_of_sorted(&statistics, 1.0 - tail)?,
        })
    }
}

/// Fills `resample` with values drawn from `values` with replacement.
fn draw(values: &[f64], resample: &mut [f64], generator: &mut Generator) {
    for slot in resample {
        *slot = values[generator.random_range(..values.len())];
    }
}

/// 95 % interval of the median; `None` for fewer than [`MIN_FOR_INTERVAL`]
/// samples.
#[must_use]
pub fn median_interval(values: &[f64], generator: &mut Generator) -> Option<Interval> {
    interval_of_median(values, RESAMPLES, generator)
}

/// As [`median_interval`], from so few resamples that its ends are uncertain by
/// about a tenth of its width: enough to tell a wide one from a narrow one.
pub(crate) fn rough_median_interval(
    values: &[f64],
    generator: &mut Generator,
) -> Option<Interval> {
    interval_of_median(values, 200, generator)
}

/// 95 % interval of median(`numerator`) / median(`denominator`), of independent
/// samples; `None` where either has fewer than [`MIN_FOR_INTERVAL`].
#[must_use]
pub fn ratio_interval(
    numerator: &[f64],
    denominator: &[f64],
    generator: &mut Generator,
) -> Option<Interval> {
    interval_of_ratio(numerator, denominator, RESAMPLES, generator)
}

fn interval_of_median(
    values: &[f64],
    resamples: usize,
    generator: &mut Generator,
) -> Option<Interval> {
    if values.len() < MIN_FOR_INTERVAL {
        return None;
    }
    let mut resample = vec![0.0; values.len()];
    let medians = (0..resamples)
        .map(|_| {
            draw(values, &mut resample, generator);
            median_in_place(&mut resample)
        })
        .collect();
    Interval::of_statistics(medians)
}

pub(super) fn interval_of_ratio(
    numerator: &[f64],
    denominator: &[f64],
    resamples: usize,
    generator: &mut Generator,
) -> Option<Interval> {
    if numerator.len().min(denominator.len()) < MIN_FOR_INTERVAL {
        return None;
    }
    let mut above = vec![0.0; numerator.len()];
    let mut below = vec![0.0; denominator.len()];
    let ratios = (0..resamples)
        .map(|_| {
            draw(numerator, &mut above, generator);
            draw(denominator, &mut below, generator);
            median_in_place(&mut above) / median_in_place(&mut below)
        })
        .collect();
    Interval::of_statistics(ratios)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::median;
    use proptest::prelude::*;
    use rand::SeedableRng;

    /// Resamples in simulations, which make hundreds of intervals.
    const FEWER: usize = 600;

    fn generator(seed: u64) -> Generator {
        Generator::seed_from_u64(seed)
    }

    /// Exponential with median ln 2: skewed like start-up times.
    fn exponential(n: usize, generator: &mut Generator) -> Vec<f64> {
        (0..n).map(|_| -(1.0 - generator.random::<f64>()).ln()).collect()
    }

    /// The defining property of a 95 % interval, on 400 simulated experiments
    /// with 15 samples each. The standard error of the share is 1.1 %.
    #[test]
    fn intervals_of_the_median_cover_it_about_95_times_in_100() {
        let mut generator = generator(1);
        let covered = (0..400)
            .filter(|_| {
                let values = exponential(15, &mut generator);
                interval_of_median(&values, FEWER, &mut generator)
                    .unwrap()
                    .contains(std::f64::consts::LN_2)
            })
            .count();
        assert!((368..=396).contains(&covered), "{covered} of 400");
    }

    #[test]
    fn intervals_of_a_ratio_cover_it_about_95_times_in_100() {
        let mut generator = generator(2);
        let covered = (0..400)
            .filter(|_| {
                let triple: Vec<f64> =
                    exponential(15, &mut generator).iter().map(|value| 3.0 * value).collect();
                let single = exponential(20, &mut generator);
                interval_of_ratio(&triple, &single, FEWER, &mut generator)
                    .unwrap()
                    .contains(3.0)
            })
            .count();
        assert!((368..=398).contains(&covered), "{covered} of 400");
    }

    /// Survival times of treated mice, Efron and Tibshirani (1993), table 2.1.
    const TREATED_MICE: [f64; 7] = [94.0, 197.0, 16.0, 38.0, 99.0, 141.0, 23.0];

    /// Their table 2.2: the bootstrap standard error of that median is 37.83 for
    /// infinitely many resamples.
    #[test]
    fn agrees_with_the_published_standard_error_of_a_median() {
        let mut generator = generator(6);
        let mut resample = [0.0; TREATED_MICE.len()];
        let medians: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                draw(&TREATED_MICE, &mut resample, &mut generator);
                median_in_place(&mut resample)
            })
            .collect();
        let n = crate::statistics::real(RESAMPLES);
        let mean = medians.iter().sum::<f64>() / n;
        let squares: f64 = medians.iter().map(|median| (median - mean).powi(2)).sum();
        let standard_error = (squares / (n - 1.0)).sqrt();
        assert!((standard_error - 37.83).abs() < 1.0, "{standard_error}");
    }

    /// The resampled median of seven is at most the k-th smallest when four or more
    /// of seven draws are, each with probability k/7 (Efron, 1979, section 3): 1.02 %
    /// for k = 1, 10.24 % for k = 2, 89.76 % for k = 5, 98.98 % for k = 6. So the
    /// quantiles 2.5 % and 97.5 % are the second and the sixth of the sample.
    #[test]
    fn agrees_with_the_exact_distribution_of_a_resampled_median() {
        let interval = median_interval(&TREATED_MICE, &mut generator(7));
        assert_eq!(interval, Some(Interval { low: 23.0, high: 141.0 }));
    }

    #[test]
    fn a_seed_gives_the_same_interval_again() {
        let values = exponential(12, &mut generator(3));
        let first = median_interval(&values, &mut generator(4));
        assert_eq!(first, median_interval(&values, &mut generator(4)));
    }

    #[test]
    fn too_few_samples_have_no_interval() {
        let mut generator = generator(5);
        assert_eq!(median_interval(&[1.0; 5], &mut generator), None);
        assert_eq!(ratio_interval(&[1.0; 5], &[1.0; 50], &mut generator), None);
        assert!(median_interval(&[1.0; 6], &mut generator).is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]
        #[test]
        fn an_interval_contains_the_median_and_stays_within_the_sample(
            values in proptest::collection::vec(1.0..1e6, MIN_FOR_INTERVAL..40), seed: u64,
        ) {
            let interval = median_interval(&values, &mut generator(seed)).unwrap();
            prop_assert!(interval.contains(median(&values).unwrap()));
            let min = values.iter().copied().fold(f64::INFINITY, f64::min);
            let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert!(min <= interval.low && interval.high <= max);
        }

        #[test]
        fn scaling_the_numerator_scales_the_ratio(
            values in proptest::collection::vec(1.0..1e6, 8..20), seed: u64,
        ) {
            let doubled: Vec<f64> = values.iter().map(|value| 2.0 * value).collect();
            let plain = ratio_interval(&values, &values, &mut generator(seed)).unwrap();
            let scaled = ratio_interval(&doubled, &values, &mut generator(seed)).unwrap();
            prop_assert!((scaled.low - 2.0 * plain.low).abs() < 1e-9 * scaled.low);
            prop_assert!((scaled.high - 2.0 * plain.high).abs() < 1e-9 * scaled.high);
        }
    }
}
