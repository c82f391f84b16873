//! How uncertain the figures of a workload are: what a budget of time is spent by.

use super::Summary;
use crate::statistics::{Generator, MIN_FOR_INTERVAL, median, rough_median_interval};

impl Summary<'_> {
    /// The relative width of the 95 % interval that half of the workload's figures
    /// do not exceed; infinite where they have none yet, `None` without figures.
    ///
    /// A figure in the middle and not the widest: one that stays uncertain however
    /// often it is measured would take all the time there is.
    pub fn width(&self, workload: &str, generator: &mut Generator) -> Option<f64> {
        let mut widths: Vec<f64> = self
            .series()
            .iter()
            .filter(|series| series.workload == workload)
            .flat_map(|series| &series.columns)
            .filter_map(|column| relative_width(&column.values, generator))
            .collect();
        if workload == "density" {
            widths.extend(self.fits().iter().map(|fit| {
                let width = (fit.slope_high - fit.slope_low) / fit.slope.abs();
                if width.is_nan() { f64::INFINITY } else { width }
            }));
        }
        widths.sort_unstable_by(f64::total_cmp);
        widths.get(widths.len() / 2).copied()
    }
}

/// `None` for no samples, or a median of zero, to which nothing is relative.
fn relative_width(values: &[f64], generator: &mut Generator) -> Option<f64> {
    let median = median(values).filter(|median| *median != 0.0)?;
    if values.len() < MIN_FOR_INTERVAL {
        return Some(f64::INFINITY);
    }
    let interval = rough_median_interval(values, generator)?;
    Some((interval.high - interval.low) / median.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads::Samples;
    use bulkhead_reports::schema::{DensitySample, OperationSample};
    use rand::SeedableRng;

    fn operation(runtime: &str, operation: &str, ns_per_operation: f64) -> OperationSample {
        OperationSample {
            runtime: runtime.to_owned(),
            block: 0,
            operation: operation.to_owned(),
            iterations: 1,
            ns_per_operation,
        }
    }

    fn width(samples: &Samples, workload: &str) -> Option<f64> {
        let runtimes = ["native".to_owned()];
        let summary = Summary { runtimes: &runtimes, samples, twice: None };
        summary.width(workload, &mut Generator::seed_from_u64(1))
    }

    #[test]
    fn what_scatters_more_is_wider_and_too_few_samples_are_widest() {
        let of = |n: u32, scatter: f64| {
            let syscalls = (0..n).map(|index| {
                operation("native", "getppid", 100.0 + scatter * f64::from(index % 7))
            });
            Samples { syscalls: syscalls.collect(), ..Samples::default() }
        };
        let (calm, wild) = (width(&of(21, 0.1), "syscalls"), width(&of(21, 5.0), "syscalls"));
        assert!(calm.is_some() && calm < wild, "{calm:?} {wild:?}");
        assert_eq!(width(&of(5, 0.1), "syscalls"), Some(f64::INFINITY));
        assert_eq!(width(&of(21, 0.1), "boot"), None);
    }

    #[test]
    fn one_hopeless_figure_does_not_decide() {
        let mut samples = Samples::default();
        for index in 0..12_u32 {
            let steady = 100.0 + 0.1 * f64::from(index % 3);
            for name in ["getppid", "fstat", "futex_wake"] {
                samples.syscalls.push(operation("native", name, steady));
            }
            samples.syscalls.push(operation("native", "fork_wait", 10_f64.powf(index.into())));
        }
        assert!(width(&samples, "syscalls").unwrap() < 0.01);
    }

    #[test]
    fn a_slope_has_a_width_too() {
        let density = [1, 2, 4].map(|count| DensitySample {
            runtime: "native".to_owned(),
            repetition: 0,
            count,
            used_bytes: 1000 * i64::from(count) + i64::from(count % 3),
            pss_bytes: [("workload".to_owned(), 1000 * u64::from(count))].into(),
            private_bytes: [].into(),
            kernel_bytes: None,
        });
        let samples = Samples { density: density.to_vec(), ..Samples::default() };
        assert!(width(&samples, "density").unwrap() < 0.1);
    }
}
