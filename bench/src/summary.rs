//! From samples to the figures beside them.

use std::collections::BTreeMap;

use bulkhead_reports::schema::{Cell, Fit, Ratio};
use bulkhead_runtime::Clock;

use crate::statistics::{
    Generator, Interval, fit_line, median, median_absolute_deviation, median_interval,
    outliers, permutation_p_value, quantile, ratio_interval, supports_quantile,
};
use crate::workloads::Samples;

/// Significance level of the permutation test.
const SIGNIFICANCE: f64 = 0.05;

/// KVM counters that are summarised; all of them are kept with the samples.
const KVM_COUNTERS: [&str; 2] = ["exits", "insn_emulation"];

/// Stands for an interval that too few samples cannot support; `null` in JSON.
const NO_INTERVAL: Interval = Interval { low: f64::NAN, high: f64::NAN };

/// Which figures belong together: one metric of one workload.
#[derive(Debug, Clone, PartialEq)]
struct Series {
    workload: &'static str,
    metric: String,
    unit: &'static str,
    /// Samples of each runtime, by the runtime's index.
    values: Vec<Vec<f64>>,
}

/// Summarises `samples` of `runtimes` (the baseline first).
pub struct Summary<'a> {
    pub runtimes: &'a [String],
    pub samples: &'a Samples,
    /// Relative difference below which two medians are not told apart: what a
    /// runtime compared with itself shows. Zero where that was not measured.
    pub noise_floor: f64,
}

impl Summary<'_> {
    /// Cells, and the ratio of each runtime to each one before it.
    pub fn tables(&self, generator: &mut Generator) -> (Vec<Cell>, Vec<Ratio>) {
        let (mut cells, mut ratios) = (Vec::new(), Vec::new());
        for series in self.series() {
            for (index, values) in series.values.iter().enumerate() {
                cells.extend(self.cell(&series, index, values, generator));
                for earlier in 0..index {
                    ratios.extend(self.ratio(&series, index, earlier, generator));
                }
            }
        }
        (cells, ratios)
    }

    fn series(&self) -> Vec<Series> {
        let clocks = Clock::ALL.into_iter().filter(|&clock| clock != Clock::Request);
        let boot = clocks.map(|clock| self.boot_clock(clock));
        let counters = KVM_COUNTERS.into_iter().map(|name| self.kvm_counter(name));
        boot.chain(counters).chain(self.operations()).collect()
    }

    fn index(&self, runtime: &str) -> Option<usize> {
        self.runtimes.iter().position(|name| name == runtime)
    }

    /// Groups `(runtime, value)` by runtime.
    fn group<'s>(&self, pairs: impl Iterator<Item = (&'s str, f64)>) -> Vec<Vec<f64>> {
        let mut values = vec![Vec::new(); self.runtimes.len()];
        for (runtime, value) in pairs {
            if let Some(index) = self.index(runtime) {
                values[index].push(value);
            }
        }
        values
    }

    fn boot_clock(&self, clock: Clock) -> Series {
        let counted = self.samples.boot.iter().filter(|sample| !sample.warm_up);
        let values = self.group(counted.filter_map(|sample| {
            let at = sample.clocks_ns.get(clock.as_str())?;
            Some((sample.runtime.as_str(), to_real(*at)))
        }));
        Series { workload: "boot", metric: format!("request→{clock}"), unit: "ns", values }
    }

    fn kvm_counter(&self, name: &str) -> Series {
        let counted = self.samples.boot.iter().filter(|sample| !sample.warm_up);
        let values = self.group(counted.filter_map(|sample| {
            Some((sample.runtime.as_str(), to_real(*sample.kvm.get(name)?)))
        }));
        Series { workload: "boot", metric: name.to_owned(), unit: "count", values }
    }

    /// One series for each operation of the probe, in the order it has them.
    fn operations(&self) -> Vec<Series> {
        let mut names: Vec<&str> = Vec::new();
        for sample in &self.samples.syscalls {
            if !names.contains(&sample.operation.as_str()) {
                names.push(&sample.operation);
            }
        }
        let series = |name: &str| {
            let of_name = self.samples.syscalls.iter().filter(|s| s.operation == name);
            let values = self.group(of_name.map(|s| (s.runtime.as_str(), s.ns_per_operation)));
            Series { workload: "syscalls", metric: name.to_owned(), unit: "ns", values }
        };
        names.into_iter().map(series).collect()
    }

    fn cell(
        &self,
        series: &Series,
        runtime: usize,
        values: &[f64],
        generator: &mut Generator,
    ) -> Option<Cell> {
        let interval = median_interval(values, generator).unwrap_or(NO_INTERVAL);
        let supported =
            |p: f64| supports_quantile(values.len(), p).then(|| quantile(values, p)).flatten();
        Some(Cell {
            workload: series.workload.to_owned(),
            metric: series.metric.clone(),
            runtime: self.runtimes[runtime].clone(),
            unit: series.unit.to_owned(),
            n: values.len(),
            median: median(values)?,
            low: interval.low,
            high: interval.high,
            min: quantile(values, 0.0)?,
            max: quantile(values, 1.0)?,
            mad: median_absolute_deviation(values)?,
            p90: supported(0.90),
            p99: supported(0.99),
            outliers: outliers(values),
        })
    }

    fn ratio(
        &self,
        series: &Series,
        runtime: usize,
        baseline: usize,
        generator: &mut Generator,
    ) -> Option<Ratio> {
        let (above, below) = (&series.values[runtime], &series.values[baseline]);
        let ratio = median(above)? / median(below)?;
        let interval = ratio_interval(above, below, generator);
        let p_value = permutation_p_value(above, below, generator)?;
        let Interval { low, high } = interval.unwrap_or(NO_INTERVAL);
        Some(Ratio {
            workload: series.workload.to_owned(),
            metric: series.metric.clone(),
            runtime: self.runtimes[runtime].clone(),
            baseline: self.runtimes[baseline].clone(),
            ratio,
            low,
            high,
            p_value,
            distinguishable: distinguishable(ratio, interval, p_value, self.noise_floor),
        })
    }

    /// A line through the density samples of each runtime, for both ways of
    /// measuring.
    pub fn fits(&self) -> Vec<Fit> {
        let mut fits = Vec::new();
        for runtime in self.runtimes {
            let samples = self.samples.density.iter().filter(|s| &s.runtime == runtime);
            let mut used = Vec::new();
            let mut pss = Vec::new();
            for sample in samples {
                let count = f64::from(sample.count);
                used.push((count, signed_to_real(sample.used_bytes)));
                pss.push((count, to_real(total(&sample.pss_bytes))));
            }
            fits.extend(fit(runtime, "used_bytes", &used));
            fits.extend(fit(runtime, "pss_bytes", &pss));
        }
        fits
    }
}

/// Whether a difference is to be called one: unlikely to be chance, an interval
/// that excludes "the same", and larger than the noise.
fn distinguishable(
    ratio: f64,
    interval: Option<Interval>,
    p_value: f64,
    noise_floor: f64,
) -> bool {
    let excludes_one = interval.is_some_and(|interval| !interval.contains(1.0));
    p_value < SIGNIFICANCE && excludes_one && ratio.ln().abs() > noise_floor.ln_1p()
}

fn total(by_role: &BTreeMap<String, u64>) -> u64 {
    by_role.values().sum()
}

fn fit(runtime: &str, metric: &str, points: &[(f64, f64)]) -> Option<Fit> {
    let line = fit_line(points)?;
    let interval = line.slope_interval.unwrap_or(NO_INTERVAL);
    Some(Fit {
        runtime: runtime.to_owned(),
        metric: metric.to_owned(),
        slope: line.slope,
        slope_low: interval.low,
        slope_high: interval.high,
        intercept: line.intercept,
        n: points.len(),
    })
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds and bytes below 2^53")]
fn to_real(value: u64) -> f64 {
    value as f64
}

#[expect(clippy::cast_precision_loss, reason = "bytes below 2^53")]
fn signed_to_real(value: i64) -> f64 {
    value as f64
}
