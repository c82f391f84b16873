//! What can be done to a running sandbox: start a further process in it, ask
//! its workload to end, take it down.

use bulkhead_probe::line::READY;
use bulkhead_runtime::{Clock, Instant, Signal};

use super::{Bench, Taking, Workload};
use crate::sampling::Stopped;
use crate::sandbox::{Observed, SampleError};

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
        for contender in &bench.contenders[..bench.cold] {
            if !contender.runtime.capabilities().exec {
                let reason = "exec: it starts no further process in a running sandbox";
                bench.samples.omit(NAME, contender.name(), reason.to_owned());
            }
        }
        bench.interleave(NAME, bench.profile.further, sample)
    }
}

fn sample(mut taking: Taking<'_>) -> Result<(), SampleError> {
    let Taking { contender, program, profile, stop, .. } = taking;
    let bundle = contender.bundle_running(&[program, "idle"]);
    let mut observed = Observed::start(contender.runtime, &bundle, stop)?;
    observed.wait_for_line(READY, profile.sandbox_timeout, stop)?;

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

    let mut sheet = taking.sheet(NAME);
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
