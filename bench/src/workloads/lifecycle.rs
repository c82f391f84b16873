//! What can be done to a running sandbox: start a further process in it, ask
//! its workload to end, take it down.

use bulkhead_runtime::{Clock, Instant, Signal};

use super::{Bench, Samples, Sheet, Workload};
use crate::profile::Profile;
use crate::sampling::{Slot, Stopped};
use crate::sandbox::{Contender, Observed, SampleError};
use crate::stop::Stop;

/// Starts a program that waits for SIGTERM, a second one beside it, and ends
/// both, in this order in the same sandbox: one start pays for three figures.
#[derive(Debug, Clone, Copy)]
pub struct Lifecycle;

const NAME: &str = "lifecycle";

impl Workload for Lifecycle {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "a further process in a running sandbox, from SIGTERM to exit, from exit to release"
    }

    fn measure(&self, bench: &mut Bench<'_>) -> Result<(), Stopped> {
        for contender in &bench.contenders {
            if !contender.runtime.capabilities().exec {
                let reason = "exec: it starts no further process in a running sandbox";
                bench.samples.omit(NAME, contender.name(), reason.to_owned());
            }
        }
        let (profile, program, stop) = (bench.profile, bench.program, bench.stop);
        bench.interleave(NAME, profile.further, |contender, slot, samples| {
            sample(contender, program, &profile, stop, slot, samples)
        })
    }
}

fn sample(
    contender: Contender<'_>,
    program: &str,
    profile: &Profile,
    stop: Stop<'_>,
    slot: Slot,
    samples: &mut Samples,
) -> Result<(), SampleError> {
    let bundle = contender.bundle_running(&[program, "idle"]);
    let mut observed = Observed::start(contender.runtime, &bundle, stop)?;
    observed.wait_for_line("ready\n", profile.sandbox_timeout, stop)?;

    let further = if contender.runtime.capabilities().exec {
        let bundle = contender.bundle_running(&[program, "hello"]);
        let mut further = observed.exec(&bundle)?;
        further.wait_for_success(profile.sandbox_timeout, stop)?;
        Some(further.release()?)
    } else {
        None
    };

    let asked = Instant::now();
    observed.signal(Signal::TERM)?;
    observed.wait_for_success(profile.sandbox_timeout, stop)?;
    let timeline = observed.release()?;

    let mut sheet = Sheet::new(samples, NAME, contender.name(), slot);
    if let Some(further) = further {
        let until = |clock| further.between(Clock::Request, clock);
        sheet.time("exec→first_output", until(Clock::FirstOutput));
        sheet.time("exec→exit_observed", until(Clock::ExitObserved));
    }
    let exit = timeline.get(Clock::ExitObserved);
    sheet.time("SIGTERM→exit_observed", exit.map(|exit| exit.since(asked)));
    let teardown = timeline.between(Clock::ExitObserved, Clock::Released);
    sheet.time("exit_observed→released", teardown);
    Ok(())
}
