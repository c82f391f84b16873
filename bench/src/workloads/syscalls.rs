//! What it costs to cross the kernel boundary: the probe's operations, timed
//! inside each sandbox by the clock inside.

use std::io;

use bulkhead_probe::line::{Line, Outcome};
use bulkhead_reports::schema::OperationSample;

use super::{Bench, Samples, Taking, Workload, lines};
use crate::sampling::Stopped;
use crate::sandbox::SampleError;
use crate::statistics::real;

/// Runs the probe's stopwatch in fresh sandboxes, once in each, so that samples
/// are independent of each other.
#[derive(Debug, Clone, Copy)]
pub struct Syscalls;

const NAME: &str = "syscalls";

impl Workload for Syscalls {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "system calls and other work of the kernel, timed inside"
    }

    fn measure(&self, bench: &mut Bench<'_>) -> Result<(), Stopped> {
        bench.interleave(NAME, bench.profile.syscalls, sample)
    }
}

fn sample(taking: Taking<'_>) -> Result<(), SampleError> {
    let Taking { contender, program, profile, stop, slot, samples, .. } = taking;
    let budget = profile.operation_budget_ms.to_string();
    let bundle = contender.bundle_running(&[program, "ops", "--budget-ms", &budget]);
    let lines = lines::read(contender.runtime, &bundle, profile, stop)?;
    if !slot.warm_up {
        for line in lines {
            keep(line, contender.name(), slot.block, samples);
        }
    }
    Ok(())
}

fn keep(line: Line, runtime: &str, block: u32, samples: &mut Samples) {
    match line.outcome {
        Outcome::Timed { iterations, total_ns } => samples.syscalls.push(OperationSample {
            runtime: runtime.to_owned(),
            block,
            operation: line.operation,
            iterations,
            ns_per_operation: real(total_ns) / real(iterations),
        }),
        Outcome::Failed { errno } => {
            let error = io::Error::from_raw_os_error(errno);
            samples.omit(&line.operation, runtime, format!("it failed inside: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_figures_and_tells_failures_once() {
        let mut samples = Samples::default();
        for block in 0..2 {
            for line in lines::parse("getppid 10 2500\ntcp_round_trip error 97\n").unwrap() {
                keep(line, "microvm", block, &mut samples);
            }
        }
        let figures: Vec<f64> = samples.syscalls.iter().map(|s| s.ns_per_operation).collect();
        assert_eq!(figures, [250.0, 250.0]);
        let [omission] = &samples.omitted[..] else { panic!("{:?}", samples.omitted) };
        assert_eq!(omission.workload, "tcp_round_trip");
        assert!(omission.reason.contains("not supported"), "{}", omission.reason);
    }
}
