//! What is kept of a run that may not reach its end.
//!
//! Samples stay in memory until the run is over; a copy of them is handed out now
//! and then, between blocks, so that neither Ctrl-C nor a machine that goes down
//! costs what was measured before.

use std::error::Error;
use std::time::{Duration, Instant};

use bulkhead_reports::schema::{Omission, Results, WorkloadEffort};

use crate::sampling::Tally;
use crate::workloads::{Samples, Tracks};

/// Shortest time between two copies.
const INTERVAL: Duration = Duration::from_secs(5);

/// A copy may cost at most one part in this many of the time since the last one.
const SHARE: u32 = 200;

/// Keeps results that are not finished.
pub trait Checkpoint {
    /// Replaces what was kept before. `so_far` has samples, and no figures made of
    /// them yet.
    ///
    /// # Errors
    ///
    /// The first copy, before anything is measured, must succeed for the run to
    /// begin. A later one that fails is only not kept: the samples are still in
    /// memory. Telling the user is the receiver's business.
    fn save(&self, so_far: &Results) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// Keeps nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCheckpoint;

impl Checkpoint for NoCheckpoint {
    fn save(&self, _: &Results) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }
}

/// Results without their samples, and where copies of them go.
pub struct Draft<'a> {
    /// All that is known before the first sample.
    frame: Results,
    checkpoint: &'a dyn Checkpoint,
    begun: Instant,
    saved: Instant,
    cost: Duration,
    total_cost: Duration,
}

impl std::fmt::Debug for Draft<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draft").field("frame", &self.frame).finish_non_exhaustive()
    }
}

impl<'a> Draft<'a> {
    pub fn new(frame: Results, checkpoint: &'a dyn Checkpoint) -> Self {
        let begun = Instant::now();
        let (cost, total_cost) = (Duration::ZERO, Duration::ZERO);
        Self { frame, checkpoint, begun, saved: begun, cost, total_cost }
    }

    /// Names of the runtimes that take part.
    pub fn runtimes(&self) -> impl Iterator<Item = &str> {
        let ready = self.frame.runtimes.iter().filter(|info| info.unavailable.is_empty());
        ready.map(|info| info.name.as_str())
    }

    /// Hands out a copy, unless the last one is recent.
    pub fn save_if_due(&mut self, samples: &Samples, tracks: &Tracks) {
        if self.saved.elapsed() >= INTERVAL.max(self.cost * SHARE) {
            // The receiver has said what went wrong; the samples are still here.
            let _ = self.save(samples, tracks);
        }
    }

    /// Hands out a copy.
    pub fn save(
        &mut self,
        samples: &Samples,
        tracks: &Tracks,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let begun = Instant::now();
        let mut so_far = self.with(samples.clone(), tracks);
        so_far.run.partial = true;
        let result = self.checkpoint.save(&so_far);
        self.saved = Instant::now();
        self.cost = begun.elapsed();
        self.total_cost += self.cost;
        result
    }

    /// The results with everything but figures.
    pub fn with(&self, samples: Samples, tracks: &Tracks) -> Results {
        let mut results = self.frame.clone();
        results.run.duration_seconds += self.begun.elapsed().as_secs();
        results.boot = samples.boot;
        results.density = samples.density;
        results.syscalls = samples.syscalls;
        results.measurements = samples.measurements;
        results.outcomes = samples.outcomes;
        results.attempts = samples.attempts;
        results.surfaces = samples.surfaces;
        results.omitted = samples.omitted;
        results.omitted.extend(self.failures(tracks));
        results.effort.memory_reading_seconds += samples.memory_reading.as_secs_f64();
        results.effort.saving_seconds += self.total_cost.as_secs_f64();
        results.effort.workloads = tracks
            .iter()
            .map(|(workload, track)| WorkloadEffort {
                workload: workload.clone(),
                blocks_begun: track.begun,
                blocks_finished: track.finished,
                seconds: track.elapsed.as_secs_f64(),
                complete: track.complete,
            })
            .collect();
        results
    }

    /// Runtimes some of whose samples failed.
    fn failures(&self, tracks: &Tracks) -> Vec<Omission> {
        let mut failures = Vec::new();
        for (workload, track) in tracks {
            for (runtime, tally) in self.runtimes().zip(&track.tallies) {
                if let Some(reason) = failure_report(tally) {
                    let (workload, runtime) = (workload.clone(), runtime.to_owned());
                    failures.push(Omission { workload, runtime, reason });
                }
            }
        }
        failures
    }
}

/// What is to be said about a runtime some of whose samples failed.
fn failure_report(tally: &Tally) -> Option<String> {
    let first = tally.first_failure.as_ref()?;
    let ending = if tally.given_up() { "; it was not tried further" } else { "" };
    Some(format!(
        "{} of {} attempts failed, first: {first}{ending}",
        tally.failures, tally.attempts
    ))
}
