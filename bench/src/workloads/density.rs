//! What an idle sandbox takes of the host's memory.
//!
//! Two ways that share nothing: the fall of `MemAvailable` while the number of
//! sandboxes rises, and the proportional set sizes of their processes plus the
//! kernel memory charged to them. Neither is right alone: the first sees
//! whatever else the host does, the second does not see what is charged to
//! nobody.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bulkhead_probe::line::READY;
use bulkhead_reports::schema::DensitySample;
use bulkhead_runtime::Bundle;

use super::{Bench, Samples, Taking, Workload};
use crate::profile::{Blocks, Ladder, Profile};
use crate::progress::Progress;
use crate::sampling::Stopped;
use crate::sandbox::{Contender, Observed, SampleError};
use crate::stop::Stop;
use bulkhead_runtime::memory;

/// Starts more and more programs that do nothing.
#[derive(Debug, Clone, Copy)]
pub struct Density;

const NAME: &str = "density";

impl Workload for Density {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "memory of more and more idle sandboxes"
    }

    fn measure(&self, bench: &mut Bench<'_>) -> Result<(), Stopped> {
        let ladder = bench.profile.density;
        // A block is one climb with each runtime, as many as there are repetitions.
        let blocks = Blocks {
            warm_up: 0,
            min: ladder.repetitions,
            max: ladder.repetitions,
            budget: Duration::MAX,
            max_weight: 1,
        };
        bench.interleave_starts_once(NAME, blocks, sample)
    }
}

fn sample(taking: Taking<'_>) -> Result<(), SampleError> {
    let Taking { contender, program, profile, stop, progress, slot, samples } = taking;
    let bundle = contender.bundle_running(&[program, "idle"]);
    let mut climb = Climb { contender, bundle, profile, stop, progress, alive: Vec::new() };
    let end = climb.run(slot.block, samples)?;
    climb.take_down()?;
    if let End::Short(reason) = end {
        samples.omit(NAME, contender.name(), reason);
    }
    Ok(())
}

/// How a climb ended that did not fail.
enum End {
    /// As high as it was meant to go.
    Top,
    /// Earlier, for this reason.
    Short(String),
}

struct Climb<'a> {
    contender: Contender<'a>,
    bundle: Bundle,
    profile: &'a Profile,
    stop: Stop<'a>,
    progress: &'a dyn Progress,
    /// Killed and released when dropped.
    alive: Vec<Observed>,
}

impl Climb<'_> {
    fn run(&mut self, repetition: u32, samples: &mut Samples) -> Result<End, SampleError> {
        let ladder = self.profile.density;
        self.stop.sleep(ladder.settle);
        let before = memory::available_bytes()?;
        let start = Instant::now();
        let mut count = 1;
        loop {
            if let Some(reason) = self.raise_to(count, &ladder)? {
                return Ok(End::Short(reason));
            }
            self.stop.sleep(ladder.settle);
            if self.stop.requested() {
                return Err(SampleError::Interrupted);
            }
            let reading = Instant::now();
            samples.density.push(self.measure(repetition, before)?);
            samples.memory_reading += reading.elapsed();
            let next = 2 * count;
            if next > ladder.max {
                return Ok(End::Top);
            }
            // It has taken this long to start `count`, and would again for the rest.
            if 2 * start.elapsed() > ladder.budget {
                return Ok(End::Short(format!(
                    "no more than {count} idle at once: {next} would have taken longer than \
                     the {} s of one climb",
                    ladder.budget.as_secs()
                )));
            }
            count = next;
        }
    }

    /// Starts sandboxes until `count` are alive; tells why when it must not.
    fn raise_to(&mut self, count: u32, ladder: &Ladder) -> Result<Option<String>, SampleError> {
        while u32::try_from(self.alive.len()).is_ok_and(|alive| alive < count) {
            let number = self.alive.len() + 1;
            self.progress.message(&format!("{} {number}", self.contender.name()));
            if memory::available_bytes()? < ladder.reserve_bytes {
                return Ok(Some(format!(
                    "no more than {} idle at once: less than {} MiB of memory left",
                    self.alive.len(),
                    ladder.reserve_bytes >> 20
                )));
            }
            let mut observed =
                Observed::start(self.contender.runtime, &self.bundle, self.stop)?;
            observed.wait_for_line(READY, self.profile.sandbox_timeout, self.stop)?;
            self.contender.check(&observed.timeline())?;
            self.alive.push(observed);
        }
        Ok(None)
    }

    fn measure(&self, repetition: u32, before: u64) -> Result<DensitySample, SampleError> {
        let used = i128::from(before) - i128::from(memory::available_bytes()?);
        let (mut pss_bytes, mut private_bytes) = (BTreeMap::new(), BTreeMap::new());
        let mut kernel_bytes = Some(0);
        for observed in &self.alive {
            for process in observed.processes()? {
                let held = memory::process(process.pid)?;
                let role = process.role.as_str();
                *pss_bytes.entry(role.to_owned()).or_insert(0) += held.pss;
                *private_bytes.entry(role.to_owned()).or_insert(0) += held.private;
            }
            let kernel = observed.usage()?.kernel_memory_bytes;
            kernel_bytes = kernel_bytes.zip(kernel).map(|(sum, more)| sum + more);
        }
        Ok(DensitySample {
            runtime: self.contender.name().to_owned(),
            repetition,
            count: u32::try_from(self.alive.len()).unwrap_or(u32::MAX),
            used_bytes: i64::try_from(used).unwrap_or(i64::MAX),
            pss_bytes,
            private_bytes,
            kernel_bytes,
        })
    }

    fn take_down(&mut self) -> Result<(), SampleError> {
        let mut result = Ok(());
        for observed in self.alive.drain(..) {
            // All of them, whatever happens to one.
            result = result.and(observed.release().map(drop));
        }
        result
    }
}
