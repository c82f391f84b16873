//! Sandboxes in which the probe times something and prints a line for each.

use std::time::Duration;

use bulkhead_probe::line::{Line, Outcome};
use bulkhead_runtime::{Bundle, Clock, Runtime, Timeline};

use crate::profile::Profile;
use crate::sandbox::{Observed, SampleError};
use crate::stop::Stop;

/// Runs the probe with the arguments in `bundle` and reads what it printed.
pub fn read(
    runtime: &dyn Runtime,
    bundle: &Bundle,
    profile: &Profile,
    stop: Stop<'_>,
) -> Result<Vec<Line>, SampleError> {
    let mut observed = Observed::start(runtime, bundle, stop)?;
    let exit = observed.wait_for_exit(profile.sandbox_timeout, stop)?;
    let output = observed.take_output();
    let timeline = observed.release()?;
    if exit.code() != 0 {
        return Err(SampleError::Failed { code: exit.code(), output });
    }
    let lines = parse(&output)?;
    check_clock(&lines, &timeline)?;
    Ok(lines)
}

/// The lines of the probe's output.
pub fn parse(output: &str) -> Result<Vec<Line>, SampleError> {
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
    fn foreign_output_is_an_error() {
        let error = parse("getppid 10 2500\nKernel panic\n").unwrap_err();
        assert!(error.to_string().contains("Kernel panic"), "{error}");
    }
}
