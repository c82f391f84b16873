//! How sampling goes with one runtime.

use std::time::Duration;

use crate::sandbox::SampleError;

/// Failures in a row after which a runtime is no longer tried.
pub(super) const MAX_FAILURES_IN_A_ROW: u32 = 3;

/// How it went with one runtime.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Samples attempted.
    pub attempts: u32,
    /// Those that failed.
    pub failures: u32,
    /// What the first failure said, with its causes.
    pub first_failure: Option<String>,
    pub(super) failures_in_a_row: u32,
    /// Shortest sample so far.
    pub(super) cost: Option<Duration>,
}

impl Tally {
    /// It fails every time and is no longer tried.
    pub fn given_up(&self) -> bool {
        self.failures_in_a_row >= MAX_FAILURES_IN_A_ROW
    }

    pub(super) fn record(&mut self, result: Result<(), SampleError>, cost: Duration) {
        self.attempts += 1;
        match result {
            Ok(()) => {
                self.failures_in_a_row = 0;
                self.cost = Some(self.cost.map_or(cost, |before| before.min(cost)));
            }
            Err(error) => {
                self.failures += 1;
                self.failures_in_a_row += 1;
                self.first_failure.get_or_insert_with(|| crate::chain(&error));
            }
        }
    }
}
