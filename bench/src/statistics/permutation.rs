//! Is there a difference at all? A permutation test on ranks.

use rand::RngExt;

use super::{Generator, real};

/// Random relabellings behind each p-value. The smallest p-value that can come
/// out is one in that many and one.
pub const RELABELLINGS: usize = 10_000;

/// Two-sided p-value of "both samples come from the same distribution": how
/// often the sum of ranks of the first deviates from its expectation at least
/// as much when the labels are dealt at random. `None` when a sample is empty.
///
/// The observed labelling counts as one of the relabellings (Phipson and Smyth,
/// 2010), so the p-value is never zero.
#[must_use]
pub fn permutation_p_value(
    first: &[f64],
    second: &[f64],
    generator: &mut Generator,
) -> Option<f64> {
    p_value(first, second, RELABELLINGS, generator)
}

pub(super) fn p_value(
    first: &[f64],
    second: &[f64],
    relabellings: usize,
    generator: &mut Generator,
) -> Option<f64> {
    if first.is_empty() || second.is_empty() {
        return None;
    }
    let mut ranks = doubled_ranks(first, second);
    let n = first.len();
    let total: u64 = ranks.iter().sum();
    // Everything times the number of ranks, so that it stays in integers and ties
    // between relabellings are seen as such.
    let count = u64::try_from(ranks.len()).ok()?;
    let expected = total * u64::try_from(n).ok()?;
    let deviation = |ranks: &[u64]| (ranks[..n].iter().sum::<u64>() * count).abs_diff(expected);
    let observed = deviation(&ranks);
    let extreme = (0..relabellings)
        .filter(|_| {
            deal(&mut ranks, n, generator);
            deviation(&ranks) >= observed
        })
        .count();
    Some(real(extreme + 1) / real(relabellings + 1))
}

/// Puts a random choice of `n` elements in front (Fisher and Yates).
fn deal(ranks: &mut [u64], n: usize, generator: &mut Generator) {
    for index in 0..n {
        let chosen = generator.random_range(index..ranks.len());
        ranks.swap(index, chosen);
    }
}

/// Twice the rank of each value among all of them, those of `first` in front;
/// equal values share the mean of their ranks, which doubling makes whole.
fn doubled_ranks(first: &[f64], second: &[f64]) -> Vec<u64> {
    let all: Vec<f64> = first.iter().chain(second).copied().collect();
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_unstable_by(|&a, &b| all[a].total_cmp(&all[b]));
    let mut ranks = vec![0; all.len()];
    let mut below = 0;
    for group in order.chunk_by(|&a, &b| all[a].total_cmp(&all[b]).is_eq()) {
        let size = u64::try_from(group.len()).unwrap_or(u64::MAX);
        for &index in group {
            ranks[index] = 2 * below + size + 1;
        }
        below += size;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;

    fn generator(seed: u64) -> Generator {
        Generator::seed_from_u64(seed)
    }

    /// Permeability constants of the human chorioamnion, Hollander and Wolfe
    /// (1973), p. 69; the example of R's `wilcox.test`, whose exact one-sided
    /// p-value is 0.1272. The distribution is symmetric: 0.2544 for two sides.
    #[test]
    fn agrees_with_the_published_exact_p_value() {
        let at_term = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
        let weeks_12_to_26 = [1.15, 0.88, 0.90, 0.74, 1.21];
        let p = permutation_p_value(&at_term, &weeks_12_to_26, &mut generator(1)).unwrap();
        // Three standard errors of 10 000 draws are 0.013.
        assert!((p - 0.2544).abs() < 0.013, "{p}");
    }

    /// Ages at diagnosis of diabetes; the example of `scipy.stats.mannwhitneyu`,
    /// whose exact two-sided p-value is 0.1111.
    #[test]
    fn agrees_with_the_exact_p_value_of_scipy() {
        let males = [19.0, 22.0, 16.0, 29.0, 24.0];
        let females = [20.0, 11.0, 17.0, 12.0];
        let p = permutation_p_value(&males, &females, &mut generator(4)).unwrap();
        assert!((p - 1.0 / 9.0).abs() < 0.0095, "{p}");
    }

    #[test]
    fn equal_values_share_their_ranks() {
        assert_eq!(doubled_ranks(&[5.0, 1.0], &[5.0, 9.0]), [5, 2, 5, 8]);
    }

    /// Of the 924 ways to split twelve values, two are as extreme as complete
    /// separation.
    #[test]
    fn complete_separation_of_six_and_six_is_significant() {
        let low = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let high = low.map(|value| value + 100.0);
        let p = permutation_p_value(&low, &high, &mut generator(2)).unwrap();
        assert!((p - 2.0 / 924.0).abs() < 0.0015, "{p}");
    }

    /// Under the null hypothesis a p-value is below 0.05 one time in twenty.
    #[test]
    fn false_alarms_are_as_rare_as_promised() {
        let mut generator = generator(3);
        let draw = |generator: &mut Generator| -> Vec<f64> {
            (0..12).map(|_| generator.random()).collect()
        };
        let alarms = (0..400)
            .filter(|_| {
                let (left, right) = (draw(&mut generator), draw(&mut generator));
                permutation_p_value(&left, &right, &mut generator).unwrap() < 0.05
            })
            .count();
        assert!((7..=33).contains(&alarms), "{alarms} of 400");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn a_p_value_is_a_probability_and_symmetric_in_distribution(
            left in proptest::collection::vec(0.0..10.0, 1..12),
            right in proptest::collection::vec(0.0..10.0, 1..12),
            seed: u64,
        ) {
            let p = permutation_p_value(&left, &right, &mut generator(seed)).unwrap();
            let swapped = permutation_p_value(&right, &left, &mut generator(!seed)).unwrap();
            prop_assert!(0.0 < p && p <= 1.0);
            prop_assert!((p - swapped).abs() < 0.04, "{} {}", p, swapped);
        }

        #[test]
        fn identical_samples_never_differ(
            values in proptest::collection::vec(0.0..10.0, 1..12), seed: u64,
        ) {
            let p = permutation_p_value(&values, &values, &mut generator(seed)).unwrap();
            prop_assert!((p - 1.0).abs() < 1e-12);
        }
    }
}
