//! How long it takes from the request for a sandbox to its first output, and
//! where the time goes.

use std::collections::BTreeMap;

use bulkhead_probe::line::HELLO;
use bulkhead_reports::schema::BootSample;
use bulkhead_runtime::{Clock, KvmStats, Timeline, Usage};

use super::{Bench, Taking, Workload};
use crate::sampling::Stopped;
use crate::sandbox::{Observed, SampleError};

/// Starts a program that writes one line and exits.
#[derive(Debug, Clone, Copy)]
pub struct Boot;

impl Workload for Boot {
    fn name(&self) -> &'static str {
        "boot"
    }

    fn about(&self) -> &'static str {
        "from the request for a sandbox to its first output and its end, by phases"
    }

    fn measure(&self, bench: &mut Bench<'_>) -> Result<(), Stopped> {
        bench.interleave_starts(self.name(), bench.profile.boot, sample)
    }
}

fn sample(taking: Taking<'_>) -> Result<(), SampleError> {
    let Taking { contender, program, profile, stop, slot, samples, .. } = taking;
    let bundle = contender.bundle_running(&[program, contender.greeting()]);
    let waiting = contender.prepare(&bundle)?;
    stop.sleep(profile.idle_before_start);
    let mut observed = match waiting {
        Some(waiting) => Observed::start_prepared(waiting, &bundle, stop)?,
        None => Observed::start(contender.runtime, &bundle, stop)?,
    };
    let exit = observed.wait_for_exit(profile.sandbox_timeout, stop)?;
    // A container has no such counters, and asking would delay its release.
    let usage = if contender.runtime.capabilities().private_kernel {
        observed.kvm()
    } else {
        Usage::default()
    };
    let output = observed.take_output();
    let timeline = observed.release()?;
    if exit.code() != 0 {
        return Err(SampleError::Failed { code: exit.code(), output });
    }
    if output != HELLO {
        return Err(SampleError::Output { output });
    }
    contender.check(&timeline)?;
    samples.boot.push(BootSample {
        runtime: contender.name().to_owned(),
        block: slot.block,
        position: slot.position,
        warm_up: slot.warm_up,
        clocks_ns: after_request(&timeline).collect(),
        kvm: usage.kvm.unwrap_or_default().0,
        kvm_at: at_clocks(usage.kvm_at),
        exit_code: exit.code(),
    });
    Ok(())
}

/// The counters that are not zero, at each clock.
fn at_clocks(kvm_at: BTreeMap<Clock, KvmStats>) -> BTreeMap<String, BTreeMap<String, u64>> {
    let named = kvm_at.into_iter().map(|(clock, stats)| {
        let counted = stats.0.into_iter().filter(|(_, value)| *value != 0).collect();
        (clock.as_str().to_owned(), counted)
    });
    named.collect()
}

/// Every clock, in nanoseconds after the request.
fn after_request(timeline: &Timeline) -> impl Iterator<Item = (String, u64)> {
    timeline.iter().filter_map(|(clock, _)| {
        let elapsed = timeline.between(Clock::Request, clock)?;
        Some((clock.as_str().to_owned(), u64::try_from(elapsed.as_nanos()).ok()?))
    })
}
