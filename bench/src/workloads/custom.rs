//! A user's own command: `bulkhead bench custom`.

use bulkhead_reports::schema::CommandOutcome;
use bulkhead_runtime::Clock;

use super::{Bench, Taking, Workload};
use crate::sampling::Stopped;
use crate::sandbox::{Contender, Observed, SampleError};

/// Runs the command of the bundles to its end.
#[derive(Debug, Clone, Copy)]
pub struct Custom;

const NAME: &str = "custom";

impl Workload for Custom {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "a command of one's own, from request to exit"
    }

    fn measure(&self, bench: &mut Bench<'_>) -> Result<(), Stopped> {
        bench.interleave_starts(NAME, bench.profile.further, sample)
    }
}

fn sample(mut taking: Taking<'_>) -> Result<(), SampleError> {
    let Taking { contender, profile, stop, .. } = taking;
    let Contender { runtime, bundle, .. } = contender;
    let waiting = contender.prepare(bundle)?;
    stop.sleep(profile.idle_before_start);
    let mut observed = Observed::start_digesting(runtime, waiting, bundle, stop)?;
    let exit = observed.wait_for_exit(profile.sandbox_timeout, stop)?;
    // Not every runtime accounts for what it runs, nor after its end.
    let usage = observed.usage().unwrap_or_default();
    taking.samples.outcome(CommandOutcome {
        runtime: contender.name().to_owned(),
        exit_code: exit.code(),
        stdout_sha256: observed.output().sha256(),
        stdout_bytes: observed.output().length(),
        times: 1,
    });
    // The end of a stream that carried nothing looks like output to who waits.
    let wrote = observed.output().length() > 0;
    let timeline = observed.release()?;
    contender.check(&timeline)?;
    let until = |clock| timeline.between(Clock::Request, clock);
    let mut sheet = taking.sheet(NAME);
    sheet.time("request→exit_observed", until(Clock::ExitObserved));
    sheet.time("request→first_output", until(Clock::FirstOutput).filter(|_| wrote));
    sheet.time("request→released", until(Clock::Released));
    sheet.bytes("peak memory", usage.memory_peak_bytes);
    sheet.time("CPU time", usage.cpu_ns.map(std::time::Duration::from_nanos));
    Ok(())
}
