//! What is measured: one module for each workload.

mod boot;
mod density;
mod syscalls;

use bulkhead_reports::schema::{
    BootSample, DensitySample, Measurement, Omission, OperationSample,
};

use crate::profile::{Blocks, Profile};
use crate::progress::Progress;
use crate::sampling::{Interleaving, Slot, Stopped, Tally};
use crate::sandbox::{Contender, SampleError};
use crate::statistics::Generator;
use crate::stop::Stop;

pub use boot::Boot;
pub use density::Density;
pub use syscalls::Syscalls;

/// Something to measure with every runtime.
pub trait Workload {
    /// Name in results.
    fn name(&self) -> &'static str;

    /// Measures all contenders and adds to the samples; failures become
    /// omissions.
    fn measure(&self, bench: &mut Bench<'_>) -> Result<(), Stopped>;
}

/// What every workload works with.
pub struct Bench<'a> {
    pub contenders: Vec<Contender<'a>>,
    /// The probe's path in the image.
    pub program: &'a str,
    pub profile: Profile,
    pub generator: Generator,
    pub stop: Stop<'a>,
    pub progress: &'a dyn Progress,
    pub samples: Samples,
}

/// Everything measured so far.
#[derive(Debug, Default)]
pub struct Samples {
    pub boot: Vec<BootSample>,
    pub density: Vec<DensitySample>,
    pub syscalls: Vec<OperationSample>,
    /// Of every workload without a record of its own; warm-ups are not among them.
    pub measurements: Vec<Measurement>,
    pub omitted: Vec<Omission>,
}

impl Samples {
    fn has_density(&self, runtime: &str) -> bool {
        self.density.iter().any(|sample| sample.runtime == runtime)
    }

    /// Adds an omission that has not been told before.
    fn omit(&mut self, workload: &str, runtime: &str, reason: String) {
        let omission =
            Omission { workload: workload.to_owned(), runtime: runtime.to_owned(), reason };
        if !self.omitted.contains(&omission) {
            self.omitted.push(omission);
        }
    }
}

impl<'a> Bench<'a> {
    /// Runs `sample` in interleaved blocks; what fails becomes an omission.
    fn interleave(
        &mut self,
        workload: &'static str,
        blocks: Blocks,
        mut sample: impl FnMut(Contender<'a>, Slot, &mut Samples) -> Result<(), SampleError>,
    ) -> Result<(), Stopped> {
        self.progress.begin(workload, (blocks.warm_up + blocks.min).into());
        let (contenders, samples) = (&self.contenders, &mut self.samples);
        let interleaving = Interleaving {
            blocks,
            runtimes: contenders.len(),
            generator: &mut self.generator,
            stop: self.stop,
            progress: self.progress,
        };
        let (tallies, result) = interleaving.run(|slot| {
            let contender = contenders[slot.runtime];
            self.progress.message(contender.name());
            sample(contender, slot, samples)
        });
        for (contender, tally) in contenders.iter().zip(&tallies) {
            if let Some(reason) = failure_report(tally) {
                samples.omit(workload, contender.name(), reason);
            }
        }
        self.progress.end();
        result
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
