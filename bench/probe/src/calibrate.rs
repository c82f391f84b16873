//! How often an operation is done so that it fills a slice of time.
//!
//! Hosts differ by four orders of magnitude: a system call takes 70 ns on one
//! and 300 µs in a guest whose kernel is emulated. So the number is found anew
//! in every sandbox, and a slice is never exceeded by more than the operation
//! itself requires.

/// Growth between two attempts at most: the first ones are too short to be
/// extrapolated further.
const MAX_GROWTH: u64 = 16;

/// Rounds to try after `rounds` took `elapsed_ns`; `None` when that attempt
/// filled at least half of the slice and counts as the measurement.
pub fn next_rounds(rounds: u64, elapsed_ns: u64, slice_ns: u64) -> Option<u64> {
    if elapsed_ns >= slice_ns.div_ceil(2) {
        return None;
    }
    let growth = (slice_ns / elapsed_ns.max(1)).clamp(2, MAX_GROWTH);
    rounds.checked_mul(growth)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_round_is_enough_when_it_fills_the_slice() {
        assert_eq!(next_rounds(1, 200_000_000, 20_000_000), None);
    }

    proptest! {
        /// Whatever an operation costs, calibration ends, fills half the slice
        /// and does not exceed the slice unless one round does.
        #[test]
        fn fills_the_slice_without_exceeding_it(
            cost_ns in 1_u64..1_000_000_000,
            slice_ns in 1_u64..10_000_000_000,
        ) {
            let mut rounds = 1;
            let mut attempts = 0;
            while let Some(next) = next_rounds(rounds, rounds * cost_ns, slice_ns) {
                rounds = next;
                attempts += 1;
                prop_assert!(attempts < 64);
            }
            prop_assert!(2 * rounds * cost_ns >= slice_ns);
            prop_assert!(rounds == 1 || rounds * cost_ns <= slice_ns);
        }
    }
}
