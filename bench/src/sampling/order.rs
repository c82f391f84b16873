//! Who has a turn in a block, how often, and in which order.

use rand::seq::SliceRandom;

use super::tally::Tally;
use crate::statistics::Generator;

/// Part of the slowest runtime's time that a faster one may use in a block.
const SHARE_OF_SLOWEST: u32 = 4;

/// Samples of each runtime in the next block: one, more for those much faster
/// than the slowest, none for those given up.
pub(super) fn weights(tallies: &[Tally], max: u32) -> Vec<u32> {
    let slowest = tallies.iter().filter(|tally| !tally.given_up()).filter_map(|t| t.cost).max();
    tallies
        .iter()
        .map(|tally| match (slowest, tally.cost) {
            _ if tally.given_up() => 0,
            (Some(slowest), Some(cost)) => {
                let share = slowest / SHARE_OF_SLOWEST;
                let fitting = share.as_nanos() / cost.as_nanos().max(1);
                u32::try_from(fitting).unwrap_or(u32::MAX).clamp(1, max.max(1))
            }
            _ => 1,
        })
        .collect()
}

/// Every runtime as often as its weight says, shuffled.
pub(super) fn block_order(weights: &[u32], generator: &mut Generator) -> Vec<usize> {
    let mut order: Vec<usize> = (0..)
        .zip(weights)
        .flat_map(|(runtime, &weight)| (0..weight).map(move |_| runtime))
        .collect();
    order.shuffle(generator);
    order
}

#[cfg(test)]
mod tests {
    use super::super::tally::MAX_FAILURES_IN_A_ROW;
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    fn tally(cost: Option<Duration>) -> Tally {
        Tally { cost, ..Tally::default() }
    }

    #[test]
    fn fast_runtimes_are_sampled_more_often() {
        let tallies = [tally(Some(8 * SECOND)), tally(Some(SECOND)), tally(Some(SECOND / 100))];
        assert_eq!(weights(&tallies, 20), [1, 2, 20]);
        assert_eq!(weights(&[tally(None), tally(Some(SECOND))], 20), [1, 1]);
        let lost = Tally { failures_in_a_row: MAX_FAILURES_IN_A_ROW, ..tally(Some(SECOND)) };
        assert_eq!(weights(&[lost, tally(None)], 20), [0, 1]);
    }

    proptest! {
        #[test]
        fn a_block_is_a_shuffle_of_its_weights(
            weights in proptest::collection::vec(0_u32..9, 1..6), seed: u64,
        ) {
            let order = block_order(&weights, &mut Generator::seed_from_u64(seed));
            for (runtime, &weight) in weights.iter().enumerate() {
                let times = order.iter().filter(|&&other| other == runtime).count();
                prop_assert_eq!(times, weight as usize);
            }
        }
    }
}
