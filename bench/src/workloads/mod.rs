//! What is measured: one module for each workload.
//!
//! `docs/adding-a-workload.md` walks through one of them.

mod boot;
mod compute;
mod custom;
mod density;
mod files;
mod lifecycle;
mod lines;
mod sheet;
mod storm;
mod syscalls;
mod taking;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use bulkhead_reports::schema::{
    Attempt, BootSample, CommandOutcome, DensitySample, Measurement, Omission, OperationSample,
    Surface,
};

use crate::draft::Draft;
use crate::isolation::Isolated;
use crate::profile::{Blocks, Profile};
use crate::progress::Progress;
use crate::sampling::{Interleaving, Stopped, Track};
use crate::sandbox::{Contender, SampleError};
use crate::stop::Stop;

use compute::Compute;
use files::Files;
use lifecycle::Lifecycle;
use sheet::Sheet;
use storm::Storm;

pub use boot::Boot;
pub use custom::Custom;
pub use density::Density;
pub use syscalls::Syscalls;
pub(crate) use taking::Taking;

/// What `bulkhead bench` measures, in this order.
pub const WORKLOADS: &[&dyn Workload] =
    &[&Boot, &Syscalls, &Isolated, &Density, &Lifecycle, &Compute, &Files, &Storm];

/// Something to measure with every runtime.
pub trait Workload: Debug + Sync {
    /// Name in results.
    fn name(&self) -> &'static str;

    /// What it measures, in a line.
    fn about(&self) -> &'static str;

    /// Measures all contenders and adds to the samples; failures become
    /// omissions.
    fn measure(&self, bench: &mut Bench<'_>) -> Result<(), Stopped>;
}

/// What every workload works with.
pub struct Bench<'a> {
    pub contenders: Vec<Contender<'a>>,
    /// How many of them start cold: those come first, and alone take part where it
    /// makes no difference how a sandbox was started.
    pub cold: usize,
    /// How many start cold or warm: those come before the ones from a pool, which only
    /// differ in how long a start takes.
    pub unprepared: usize,
    /// The runtime that is compared with itself, by index.
    pub twice: Option<usize>,
    /// The probe's path in the image.
    pub program: &'a str,
    /// Whether this host's KVM emulates guest kernels.
    pub emulates_guest_kernel: bool,
    pub profile: Profile,
    pub seed: u64,
    /// Time a workload may take in all, in place of the bounds of its profile.
    pub until: Option<Duration>,
    pub stop: Stop<'a>,
    pub progress: &'a dyn Progress,
    pub draft: Draft<'a>,
    pub samples: Samples,
    /// How far each workload got, by its name.
    pub tracks: Tracks,
}

/// How far each workload got, by its name.
pub type Tracks = BTreeMap<String, Track>;

impl Debug for Bench<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench")
            .field("contenders", &self.contenders)
            .field("profile", &self.profile)
            .field("samples", &self.samples)
            .finish_non_exhaustive()
    }
}

/// Everything measured so far.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    pub boot: Vec<BootSample>,
    pub density: Vec<DensitySample>,
    pub syscalls: Vec<OperationSample>,
    /// Of every workload without a record of its own; warm-ups are not among them.
    ///
    /// Values of one runtime and metric must be independent of each other: many
    /// readings in one sandbox are one value, their median.
    pub measurements: Vec<Measurement>,
    pub outcomes: Vec<CommandOutcome>,
    pub attempts: Vec<Attempt>,
    pub surfaces: Vec<Surface>,
    pub omitted: Vec<Omission>,
    /// Time spent reading how much memory sandboxes take.
    pub memory_reading: Duration,
}

impl Samples {
    /// Counts an outcome with those like it.
    fn outcome(&mut self, outcome: CommandOutcome) {
        match self.outcomes.iter_mut().find(|known| known.is_like(&outcome)) {
            Some(known) => known.times += outcome.times,
            None => self.outcomes.push(outcome),
        }
    }

    /// Adds an omission that has not been told before.
    pub fn omit(&mut self, workload: &str, runtime: &str, reason: String) {
        let omission =
            Omission { workload: workload.to_owned(), runtime: runtime.to_owned(), reason };
        if !self.omitted.contains(&omission) {
            self.omitted.push(omission);
        }
    }
}

impl Bench<'_> {
    /// Runs `sample` in interleaved blocks, with one runtime twice, so that it can
    /// be compared with itself; what fails becomes an omission.
    fn interleave(
        &mut self,
        workload: &'static str,
        blocks: Blocks,
        sample: impl FnMut(Taking<'_>) -> Result<(), SampleError>,
    ) -> Result<(), Stopped> {
        self.run_blocks(workload, blocks, self.cold, self.twice, sample)
    }

    /// As [`Self::interleave`], with every way of starting.
    fn interleave_starts(
        &mut self,
        workload: &'static str,
        blocks: Blocks,
        sample: impl FnMut(Taking<'_>) -> Result<(), SampleError>,
    ) -> Result<(), Stopped> {
        self.run_blocks(workload, blocks, self.contenders.len(), self.twice, sample)
    }

    /// As [`Self::interleave`], with every runtime once: for samples so dear that
    /// comparing a runtime with itself is not worth their time.
    pub(crate) fn interleave_once(
        &mut self,
        workload: &'static str,
        blocks: Blocks,
        sample: impl FnMut(Taking<'_>) -> Result<(), SampleError>,
    ) -> Result<(), Stopped> {
        self.run_blocks(workload, blocks, self.cold, None, sample)
    }

    /// As [`Self::interleave_once`], with every way of starting that makes a sandbox for
    /// the request.
    fn interleave_starts_once(
        &mut self,
        workload: &'static str,
        blocks: Blocks,
        sample: impl FnMut(Taking<'_>) -> Result<(), SampleError>,
    ) -> Result<(), Stopped> {
        self.run_blocks(workload, blocks, self.unprepared, None, sample)
    }

    /// Runs blocks of the first `runtimes` contenders until there are enough, from
    /// where the workload got to before.
    fn run_blocks(
        &mut self,
        workload: &'static str,
        blocks: Blocks,
        runtimes: usize,
        twice: Option<usize>,
        mut sample: impl FnMut(Taking<'_>) -> Result<(), SampleError>,
    ) -> Result<(), Stopped> {
        let blocks = match self.until {
            Some(budget) => Blocks { min: 0, max: u32::MAX, budget, ..blocks },
            None => blocks,
        };
        let interleaving = Interleaving {
            blocks,
            runtimes,
            twice,
            seed: seed_of(self.seed, workload),
            stop: self.stop,
        };
        let mut track = self.tracks.get(workload).cloned().unwrap_or_default();
        self.progress.begin(workload, (blocks.warm_up + blocks.min).max(track.finished).into());
        let mut result = Ok(());
        while result.is_ok() && interleaving.another(&track) {
            let (contenders, samples) = (&self.contenders, &mut self.samples);
            result = interleaving.block(&mut track, |slot| {
                let contender = contenders[slot.runtime];
                self.progress.message(contender.name());
                sample(Taking {
                    contender,
                    program: self.program,
                    profile: &self.profile,
                    stop: self.stop,
                    progress: self.progress,
                    slot,
                    samples,
                })
            });
            self.tracks.insert(workload.to_owned(), track.clone());
            self.progress.advance(
                track.finished.into(),
                interleaving.expected(&track).max(track.finished).into(),
            );
            self.draft.save_if_due(&self.samples, &self.tracks);
        }
        track.complete = result.is_ok() && self.until.is_none();
        self.tracks.insert(workload.to_owned(), track);
        self.progress.end();
        result
    }
}

/// A seed for the orders of one workload, so that they do not depend on what was
/// measured before it (FNV-1a of its name).
fn seed_of(seed: u64, workload: &str) -> u64 {
    workload.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
