//! The raw samples behind a summary: what [`crate::schema::Cell`]'s workload and
//! metric mean in terms of the samples a results file keeps.

use crate::schema::Results;
use crate::units::float;
use crate::view::{BOOT, SYSCALLS};

/// Begins the metrics of a start's clocks; the clock's name follows.
const SINCE_REQUEST: &str = "request→";

/// Every counted sample of one metric of one runtime, in the order it was taken;
/// empty for a metric that is not summarised from samples.
#[must_use]
pub fn of(results: &Results, workload: &str, metric: &str, runtime: &str) -> Vec<f64> {
    match workload {
        BOOT => starts(results, metric, runtime),
        SYSCALLS => {
            let mine = results.syscalls.iter();
            let mine = mine.filter(|s| s.runtime == runtime && s.operation == metric);
            mine.map(|sample| sample.ns_per_operation).collect()
        }
        _ => {
            let mine = results.measurements.iter();
            let mine = mine.filter(|m| {
                m.runtime == runtime && m.workload == workload && m.metric == metric
            });
            mine.map(|sample| sample.value).collect()
        }
    }
}

fn starts(results: &Results, metric: &str, runtime: &str) -> Vec<f64> {
    let counted = results.boot.iter().filter(|s| s.runtime == runtime && !s.warm_up);
    counted
        .filter_map(|sample| match metric.strip_prefix(SINCE_REQUEST) {
            Some(clock) => sample.clocks_ns.get(clock),
            None => sample.kvm.get(metric),
        })
        .map(|value| float(*value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clocks::START_METRIC;
    use crate::sample;

    #[test]
    fn warm_ups_are_left_out_and_every_kind_is_found() {
        let results = sample::rich();
        assert_eq!(of(&results, "boot", START_METRIC, "container").len(), 24);
        assert_eq!(of(&results, "syscalls", "getppid", "microvm").len(), 8);
        assert_eq!(of(&results, "custom", "peak memory", "runc").len(), 8);
        assert_eq!(of(&sample::results(), "boot", "exits", "microvm").len(), 20);
        assert!(of(&results, "boot", "exits", "native").is_empty());
        assert!(of(&results, "density", "used_bytes", "native").is_empty());
    }
}
