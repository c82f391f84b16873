//! Two samples compared, and whether their difference is to be called one.

use super::bootstrap::interval_of_ratio;
use super::permutation::p_value;
use super::{Generator, Interval, RELABELLINGS, RESAMPLES, median};

/// Significance level of the permutation test.
pub const SIGNIFICANCE: f64 = 0.05;

/// What two samples show of a difference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// Ratio of the medians.
    pub ratio: f64,
    /// Its 95 % interval, where both samples support one.
    pub interval: Option<Interval>,
    /// Two-sided p-value of "no difference at all".
    pub p_value: f64,
}

impl Comparison {
    /// Whether the difference is to be called one: unlikely to be chance, with an
    /// interval that excludes "the same", and larger than `noise_floor`, a relative
    /// difference (0.03 for 3 %) in either direction.
    #[must_use]
    pub fn is_distinguishable(&self, noise_floor: f64) -> bool {
        let excludes_one = self.interval.is_some_and(|interval| !interval.contains(1.0));
        self.p_value < SIGNIFICANCE
            && excludes_one
            && self.ratio.ln().abs() > noise_floor.ln_1p()
    }

    /// The noise floor, where the two samples are of the same thing: the relative
    /// difference that 95 of 100 such comparisons do not exceed, which is half the
    /// width of their interval; or the difference this one shows, if that is larger.
    /// `None` without an interval, or where a median of zero has no ratio.
    #[must_use]
    pub fn noise_floor(&self) -> Option<f64> {
        let interval = self.interval?;
        // On a logarithmic scale, on which twice as much is as far as half as much.
        let half_width = (interval.high / interval.low).ln() / 2.0;
        let floor = half_width.max(self.ratio.ln().abs()).exp_m1();
        floor.is_finite().then_some(floor)
    }
}

/// Compares the medians of `above` and `below`; `None` when one is empty.
#[must_use]
pub fn compare(above: &[f64], below: &[f64], generator: &mut Generator) -> Option<Comparison> {
    compare_with(above, below, RESAMPLES, RELABELLINGS, generator)
}

pub(super) fn compare_with(
    above: &[f64],
    below: &[f64],
    resamples: usize,
    relabellings: usize,
    generator: &mut Generator,
) -> Option<Comparison> {
    Some(Comparison {
        ratio: median(above)? / median(below)?,
        interval: interval_of_ratio(above, below, resamples, generator),
        p_value: p_value(above, below, relabellings, generator)?,
    })
}

/// What the rule promises, shown on recorded samples.
#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};

    /// Starts of a container, `request→first_output` in nanoseconds, in the order
    /// they were measured: the run of 2026-11-21T12:35:18Z, seed 12414205269592706068.
    const RECORDED: &str = include_str!("../../fixtures/container_starts_ns.txt");

    /// Samples of each side of a comparison: as many as that run had.
    const SAMPLES: usize = 240;

    /// Pairs that are simulated.
    const PAIRS: usize = 200;

    /// Fewer than usual, as there are hundreds of comparisons; it makes intervals
    /// vary a little more, which is not in favour of the rule.
    const FEWER: usize = 500;

    fn recorded() -> Vec<f64> {
        RECORDED.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// A sample as another run of the same container might have given it.
    fn resampled(recorded: &[f64], generator: &mut Generator) -> Vec<f64> {
        (0..SAMPLES).map(|_| recorded[generator.random_range(..recorded.len())]).collect()
    }

    /// Of [`PAIRS`] comparisons of a container with itself slowed down by `factor`,
    /// how many are called a difference: by the test and the interval alone, and
    /// with the noise floor of a third and fourth sample.
    fn called_different(factor: f64, seed: u64) -> (usize, usize) {
        let (recorded, mut generator) = (recorded(), Generator::seed_from_u64(seed));
        let mut called = (0, 0);
        for _ in 0..PAIRS {
            let [first, second, plain, mut slowed] =
                std::array::from_fn(|_| resampled(&recorded, &mut generator));
            slowed.iter_mut().for_each(|value| *value *= factor);
            let mut compare = |above: &[f64], below: &[f64]| {
                compare_with(above, below, FEWER, FEWER, &mut generator).unwrap()
            };
            let floor = compare(&first, &second).noise_floor().unwrap();
            let comparison = compare(&slowed, &plain);
            called.0 += usize::from(comparison.is_distinguishable(0.0));
            called.1 += usize::from(comparison.is_distinguishable(floor));
        }
        called
    }

    #[test]
    fn of_200_pairs_that_are_the_same_few_are_called_different() {
        let (without_floor, called) = called_different(1.0, 1);
        println!(
            "A/A: {called} of {PAIRS} called different, {without_floor} without the floor"
        );
        // The stated level, and three standard errors of it for the test alone.
        assert!(without_floor <= 19, "{without_floor} of {PAIRS}");
        assert!(called <= 10, "{called} of {PAIRS}");
    }

    #[test]
    fn a_planted_slowdown_of_10_percent_is_found() {
        let (without_floor, called) = called_different(1.1, 2);
        println!(
            "10 %: {called} of {PAIRS} called different, {without_floor} without the floor"
        );
        assert!(called >= 180, "{called} of {PAIRS}");
    }

    #[test]
    fn the_recorded_samples_support_a_decision_on_10_percent() {
        let (recorded, mut generator) = (recorded(), Generator::seed_from_u64(3));
        // Those with an even and those with an odd number were taken in turns.
        let half = |parity: usize| -> Vec<f64> {
            recorded.iter().skip(parity).step_by(2).copied().collect()
        };
        let (even, odd) = (half(0), half(1));
        let same = compare(&even, &odd, &mut generator).unwrap();
        let floor = same.noise_floor().unwrap();
        assert!(!same.is_distinguishable(floor) && floor < 0.1, "{same:?}");
        let slowed: Vec<f64> = even.iter().map(|value| 1.1 * value).collect();
        let planted = compare(&slowed, &odd, &mut generator).unwrap();
        assert!(planted.is_distinguishable(floor), "{planted:?} against {floor}");
    }

    #[test]
    fn a_difference_must_exceed_the_noise_in_either_direction() {
        let interval = |low, high| Some(Interval { low, high });
        let slower = Comparison { ratio: 1.1, interval: interval(1.08, 1.12), p_value: 0.001 };
        assert!(slower.is_distinguishable(0.09) && !slower.is_distinguishable(0.11));
        let faster = Comparison { ratio: 1.0 / 1.1, interval: interval(0.89, 0.93), ..slower };
        assert!(faster.is_distinguishable(0.09) && !faster.is_distinguishable(0.11));
        assert!(!Comparison { p_value: SIGNIFICANCE, ..slower }.is_distinguishable(0.0));
        assert!(!Comparison { interval: None, ..slower }.is_distinguishable(0.0));
        assert_eq!(Comparison { interval: interval(0.0, 1.0), ..slower }.noise_floor(), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn which_side_is_named_first_does_not_decide(
            above in proptest::collection::vec(1.0..1e3, 6..20),
            below in proptest::collection::vec(1.0..1e3, 6..20),
            floor in 0.0..0.5,
        ) {
            let mut generator = Generator::seed_from_u64(4);
            let there = compare_with(&above, &below, 50, 50, &mut generator).unwrap();
            let interval = there.interval.unwrap();
            let back = Comparison {
                ratio: 1.0 / there.ratio,
                interval: Some(Interval { low: 1.0 / interval.high, high: 1.0 / interval.low }),
                ..there
            };
            prop_assert_eq!(there.is_distinguishable(floor), back.is_distinguishable(floor));
            let floors = (there.noise_floor().unwrap(), back.noise_floor().unwrap());
            prop_assert!((floors.0 - floors.1).abs() < 1e-9 * (1.0 + floors.0));
        }
    }
}
