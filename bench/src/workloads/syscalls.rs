//! What it costs to cross the kernel boundary: the probe's operations, timed
//! inside each sandbox by the clock inside.

use std::io;
use std::time::Duration;

use bulkhead_probe::line::{Line, Outcome};
use bulkhead_reports::schema::OperationSample;
use bulkhead_runtime::{Clock, Timeline};

use super::{Bench, Samples, Workload};
use crate::profile::Profile;
use crate::sampling::{Slot, Stopped};
use crate::sandbox::{Contender, Observed, SampleError};
use crate::stop::Stop;

/// Runs the probe's stopwatch in fresh sandboxes, once in each, so that samples
/// are independent of each other.
#[derive(Debug, Clone, Copy)]
pub struct Syscalls;

const NAME: &str = "syscalls";

impl Workload for Syscalls {
    fn name(&self) -> &'static str {
        NAME
    }

    fn measure(&self, bench: &mut Bench<'_>) -> Result<(), Stopped> {
        let (profile, program, stop) = (bench.profile, bench.program, bench.stop);
        bench.interleave(NAME, profile.syscalls, |contender, slot, samples| {
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
    let budget = profile.operation_budget_ms.to_string();
    let bundle = contender.bundle_running(&[program, "ops", "--budget-ms", &budget]);
    let mut observed = Observed::start(contender.runtime, &bundle, stop)?;
    let exit = observed.wait_for_exit(profile.sandbox_timeout, stop)?;
    let output = observed.take_output();
    let timeline = observed.release()?;
    if exit.code() != 0 {
        return Err(SampleError::Failed { code: exit.code(), output });
    }
    let lines = parse(&output)?;
    check_clock(&lines, &timeline)?;
    if !slot.warm_up {
        for line in lines {
            keep(line, contender.name(), slot.block, samples);
        }
    }
    Ok(())
}

fn parse(output: &str) -> Result<Vec<Line>, SampleError> {
    output
        .lines()
        .map(|line| line.parse().map_err(|_| SampleError::Output { output: line.to_owned() }))
        .collect()
}

/// Times from inside cannot add up to more than the whole took outside. A guest
/// whose clock runs fast would otherwise pass for a slow one.
fn check_clock(lines: &[Line], timeline: &Timeline) -> Result<(), SampleError> {
    let inside_ns = lines.iter().fold(0_u64, |sum, line| match line.outcome {
        Outcome::Timed { total_ns, .. } => sum.saturating_add(total_ns),
        Outcome::Failed { .. } => sum,
    });
    let inside = Duration::from_nanos(inside_ns);
    let outside =
        timeline.between(Clock::Request, Clock::ExitObserved).unwrap_or(Duration::MAX);
    if inside <= outside {
        return Ok(());
    }
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Err(SampleError::Clock {
        inside_ms: milliseconds(inside),
        outside_ms: milliseconds(outside),
    })
}

fn keep(line: Line, runtime: &str, block: u32, samples: &mut Samples) {
    match line.outcome {
        Outcome::Timed { iterations, total_ns } => samples.syscalls.push(OperationSample {
            runtime: runtime.to_owned(),
            block,
            operation: line.operation,
            iterations,
            ns_per_operation: per_iteration(total_ns, iterations),
        }),
        Outcome::Failed { errno } => {
            let error = io::Error::from_raw_os_error(errno);
            samples.omit(&line.operation, runtime, format!("it failed inside: {error}"));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "both are far below 2^53")]
fn per_iteration(total_ns: u64, iterations: u64) -> f64 {
    total_ns as f64 / iterations as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_runtime::Instant;

    fn lived(ns: u64) -> Timeline {
        let mut timeline = Timeline::starting_at(Instant::from_nanos(1_000));
        timeline.mark_at(Clock::ExitObserved, Instant::from_nanos(1_000 + ns));
        timeline
    }

    #[test]
    fn a_clock_that_runs_fast_inside_is_noticed() {
        let lines = parse("getppid 10 600\nfstat error 1\nopen_close 1 500\n").unwrap();
        assert!(check_clock(&lines, &lived(1_100)).is_ok());
        let error = check_clock(&lines, &lived(1_099));
        assert!(matches!(error, Err(SampleError::Clock { .. })));
    }

    #[test]
    fn keeps_figures_and_tells_failures_once() {
        let mut samples = Samples::default();
        for block in 0..2 {
            for line in parse("getppid 10 2500\ntcp_round_trip error 97\n").unwrap() {
                keep(line, "microvm", block, &mut samples);
            }
        }
        let figures: Vec<f64> = samples.syscalls.iter().map(|s| s.ns_per_operation).collect();
        assert_eq!(figures, [250.0, 250.0]);
        let [omission] = &samples.omitted[..] else { panic!("{:?}", samples.omitted) };
        assert_eq!(omission.workload, "tcp_round_trip");
        assert!(omission.reason.contains("not supported"), "{}", omission.reason);
    }

    #[test]
    fn foreign_output_is_an_error() {
        let error = parse("getppid 10 2500\nKernel panic\n").unwrap_err();
        assert!(error.to_string().contains("Kernel panic"), "{error}");
    }
}
