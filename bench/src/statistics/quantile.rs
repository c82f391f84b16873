//! Order statistics of one sample.

use super::{MIN_BEYOND_QUANTILE, real};

/// The values in ascending order.
fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

/// Quantile `p` (0 to 1) by linear interpolation between order statistics:
/// definition 7 of Hyndman and Fan (1996), the default of R and `NumPy`. `None`
/// for an empty sample.
#[must_use]
pub fn quantile(values: &[f64], p: f64) -> Option<f64> {
    quantile_of_sorted(&sorted(values), p)
}

pub(super) fn quantile_of_sorted(sorted: &[f64], p: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let position = real(last) * p.clamp(0.0, 1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "floor of a number between 0 and a slice's length"
    )]
    let below = (position.floor() as usize).min(last);
    let above = (below + 1).min(last);
    let fraction = position - real(below);
    Some(sorted[below] + fraction * (sorted[above] - sorted[below]))
}

/// Whether `n` samples say anything about quantile `p`: at least
/// [`MIN_BEYOND_QUANTILE`] of them are expected beyond it.
#[must_use]
pub fn supports_quantile(n: usize, p: f64) -> bool {
    // The product is a whole number for the quantiles in use, up to rounding.
    real(n) * (1.0 - p) >= MIN_BEYOND_QUANTILE - 1e-9
}

/// The median; `None` for an empty sample.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The median without allocating: `values` is reordered.
pub(super) fn median_in_place(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    if values.is_empty() {
        return f64::NAN;
    }
    let even = values.len().is_multiple_of(2);
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    if even {
        let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        lower + 0.5 * (*upper - lower)
    } else {
        *upper
    }
}

/// Median absolute deviation from the median, not scaled to a normal
/// distribution; `None` for an empty sample.
#[must_use]
pub fn median_absolute_deviation(values: &[f64]) -> Option<f64> {
    let center = median(values)?;
    let deviations: Vec<f64> = values.iter().map(|value| (value - center).abs()).collect();
    median(&deviations)
}

/// How many values lie beyond Tukey's inner fences, 1.5 interquartile ranges
/// outside the quartiles.
#[must_use]
pub fn outliers(values: &[f64]) -> usize {
    let sorted = sorted(values);
    let quartiles = (quantile_of_sorted(&sorted, 0.25), quantile_of_sorted(&sorted, 0.75));
    let (Some(first), Some(third)) = quartiles else { return 0 };
    let reach = 1.5 * (third - first);
    sorted.iter().filter(|&&value| value < first - reach || value > third + reach).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `mtcars$mpg` of R's datasets package.
    const MPG: [f64; 32] = [
        21.0, 21.0, 22.8, 21.4, 18.7, 18.1, 14.3, 24.4, 22.8, 19.2, 17.8, 16.4, 17.3, 15.2,
        10.4, 10.4, 14.7, 32.4, 30.4, 33.9, 21.5, 15.5, 15.2, 13.3, 19.2, 27.3, 26.0, 30.4,
        15.8, 19.7, 15.0, 21.4,
    ];

    fn close(left: Option<f64>, right: f64) -> bool {
        left.is_some_and(|left| (left - right).abs() < 1e-9)
    }

    /// What R's `quantile(mtcars$mpg)` and `mad(mtcars$mpg, constant = 1)` print.
    #[test]
    fn agrees_with_r() {
        assert!(close(quantile(&MPG, 0.25), 15.425));
        assert!(close(median(&MPG), 19.2));
        assert!(close(quantile(&MPG, 0.75), 22.8));
        assert!(close(median_absolute_deviation(&MPG), 3.65));
        // The upper fence is 22.8 + 1.5 * 7.375 = 33.8625.
        assert_eq!(outliers(&MPG), 1);
    }

    /// NIST/SEMATECH e-Handbook of Statistical Methods, 7.1.6, "What are outliers
    /// in the data?": one point beyond the inner fences.
    const NIST_OUTLIERS: [f64; 90] = [
        30.0, 171.0, 184.0, 201.0, 212.0, 250.0, 265.0, 270.0, 272.0, 289.0, 305.0, 306.0,
        322.0, 322.0, 336.0, 346.0, 351.0, 370.0, 390.0, 404.0, 409.0, 411.0, 436.0, 437.0,
        439.0, 441.0, 444.0, 448.0, 451.0, 453.0, 470.0, 480.0, 482.0, 487.0, 494.0, 495.0,
        499.0, 503.0, 514.0, 521.0, 522.0, 527.0, 548.0, 550.0, 559.0, 560.0, 570.0, 572.0,
        574.0, 578.0, 585.0, 592.0, 592.0, 607.0, 616.0, 618.0, 621.0, 629.0, 637.0, 638.0,
        640.0, 656.0, 668.0, 707.0, 709.0, 719.0, 737.0, 739.0, 752.0, 758.0, 766.0, 792.0,
        792.0, 794.0, 802.0, 818.0, 830.0, 832.0, 843.0, 858.0, 860.0, 869.0, 918.0, 925.0,
        953.0, 991.0, 1000.0, 1005.0, 1068.0, 1441.0,
    ];

    #[test]
    fn agrees_with_the_handbook_of_nist() {
        assert!(close(median(&NIST_OUTLIERS), 559.5));
        assert_eq!(outliers(&NIST_OUTLIERS), 1);
    }

    #[test]
    fn an_empty_sample_has_no_quantile() {
        assert_eq!(median(&[]), None);
        assert_eq!(median_absolute_deviation(&[]), None);
        assert_eq!(outliers(&[]), 0);
    }

    #[test]
    fn quantiles_need_samples_beyond_them() {
        assert!(!supports_quantile(19, 0.90) && supports_quantile(20, 0.90));
        assert!(!supports_quantile(199, 0.99) && supports_quantile(200, 0.99));
    }

    fn sample() -> impl Strategy<Value = Vec<f64>> {
        proptest::collection::vec(-1e9..1e9, 1..60)
    }

    proptest! {
        #[test]
        fn quantiles_are_monotone_and_within_the_sample(
            values in sample(), p in 0.0..=1.0, q in 0.0..=1.0,
        ) {
            let (lower, upper) = (f64::min(p, q), f64::max(p, q));
            let sorted = sorted(&values);
            let below = quantile(&values, lower).unwrap();
            let above = quantile(&values, upper).unwrap();
            prop_assert!(sorted[0] <= below && below <= above);
            prop_assert!(above <= sorted[sorted.len() - 1]);
        }

        #[test]
        fn both_medians_agree(values in sample()) {
            let expected = median(&values).unwrap();
            let mut values = values;
            let found = median_in_place(&mut values);
            prop_assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1.0));
        }

        #[test]
        fn shifting_moves_the_median_and_not_the_spread(values in sample(), by in -1e6_f64..1e6) {
            let moved: Vec<f64> = values.iter().map(|value| value + by).collect();
            let gap = median(&moved).unwrap() - median(&values).unwrap() - by;
            prop_assert!(gap.abs() < 1e-4);
            let spread = median_absolute_deviation(&moved).unwrap()
                - median_absolute_deviation(&values).unwrap();
            prop_assert!(spread.abs() < 1e-4);
        }
    }
}
