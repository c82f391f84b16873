//! How many blocks are run.

use std::time::Duration;

use crate::profile::Blocks;

/// Decides how many blocks are run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub blocks: Blocks,
    /// Blocks done, warm-up included.
    pub done: u32,
    pub elapsed: Duration,
    pub per_block: Duration,
}

impl Pace {
    pub fn another(&self) -> bool {
        let counted = self.done.saturating_sub(self.blocks.warm_up);
        let limit = if counted >= self.blocks.max {
            return false;
        } else if counted < self.blocks.min {
            self.blocks.budget.saturating_mul(2)
        } else {
            self.blocks.budget
        };
        // Without a counted block the workload would have no result at all.
        counted == 0 || self.elapsed.saturating_add(self.per_block) <= limit
    }

    /// Blocks there will be in all if they go on taking as long.
    pub fn expected(mut self) -> u32 {
        while self.another() {
            self.elapsed += self.per_block;
            self.done += 1;
        }
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_budget_decides_between_least_and_most() {
        let blocks =
            Blocks { warm_up: 1, min: 6, max: 30, budget: 100 * SECOND, max_weight: 1 };
        let total = |per_block: Duration| {
            let begun = Pace { blocks, done: 1, elapsed: per_block, per_block };
            begun.expected() - blocks.warm_up
        };
        assert_eq!(total(SECOND), 30, "never more than the most");
        assert_eq!(total(10 * SECOND), 9, "as many as fit");
        assert_eq!(total(20 * SECOND), 6, "beyond the budget for the least");
        assert_eq!(total(50 * SECOND), 3, "but never twice the budget");
        assert_eq!(total(500 * SECOND), 1, "one result in any case");
    }
}
