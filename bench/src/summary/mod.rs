//! From samples to the figures beside them.

mod noise;
mod series;
mod width;

use std::collections::BTreeMap;

use bulkhead_reports::schema::{Cell, Fit, NoiseFloor, Ratio};

use series::Series;

use crate::statistics::{
    Generator, Interval, compare, fit_line, median, median_absolute_deviation, median_interval,
    outliers, quantile, real, supports_quantile,
};
use crate::workloads::Samples;

/// Stands for an interval that too few samples cannot support; `null` in JSON.
const NO_INTERVAL: Interval = Interval { low: f64::NAN, high: f64::NAN };

/// Summarises `samples` of `runtimes` (the baseline first).
pub struct Summary<'a> {
    pub runtimes: &'a [String],
    pub samples: &'a Samples,
    /// The runtime that took part twice.
    pub twice: Option<&'a str>,
}

/// What a summary gives.
#[derive(Debug, Default)]
pub struct Tables {
    pub cells: Vec<Cell>,
    pub noise: Vec<NoiseFloor>,
    pub ratios: Vec<Ratio>,
}

impl Summary<'_> {
    /// Cells, the noise floor of each metric, and the ratio of each runtime to each
    /// one before it.
    pub fn tables(&self, generator: &mut Generator) -> Tables {
        let all = self.series();
        let noise = self.noise(&all, generator);
        let (mut cells, mut ratios) = (Vec::new(), Vec::new());
        for series in &all {
            let floor = noise::floor_for(&noise, series.workload, &series.metric);
            for (index, column) in series.columns.iter().enumerate() {
                cells.extend(self.cell(series, index, &column.values, generator));
                for earlier in 0..index {
                    ratios.extend(self.ratio(series, index, earlier, floor, generator));
                }
            }
        }
        Tables { cells, noise, ratios }
    }

    /// What the runtime that took part twice shows of a difference to itself.
    fn noise(&self, all: &[Series<'_>], generator: &mut Generator) -> Vec<NoiseFloor> {
        let Some(index) = self.twice.and_then(|name| self.index(name)) else {
            return Vec::new();
        };
        all.iter()
            .filter_map(|series| {
                noise::measure(series, &self.runtimes[index], index, generator)
            })
            .collect()
    }

    fn index(&self, runtime: &str) -> Option<usize> {
        self.runtimes.iter().position(|name| name == runtime)
    }

    fn cell(
        &self,
        series: &Series<'_>,
        runtime: usize,
        values: &[f64],
        generator: &mut Generator,
    ) -> Option<Cell> {
        let interval = median_interval(values, generator).unwrap_or(NO_INTERVAL);
        let supported =
            |p: f64| supports_quantile(values.len(), p).then(|| quantile(values, p)).flatten();
        Some(Cell {
            workload: series.workload.to_owned(),
            metric: series.metric.to_string(),
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
        series: &Series<'_>,
        runtime: usize,
        baseline: usize,
        noise_floor: f64,
        generator: &mut Generator,
    ) -> Option<Ratio> {
        let [above, below] = [runtime, baseline].map(|index| &series.columns[index].values);
        let comparison = compare(above, below, generator)?;
        let Interval { low, high } = comparison.interval.unwrap_or(NO_INTERVAL);
        Some(Ratio {
            workload: series.workload.to_owned(),
            metric: series.metric.to_string(),
            runtime: self.runtimes[runtime].clone(),
            baseline: self.runtimes[baseline].clone(),
            ratio: comparison.ratio,
            low,
            high,
            p_value: comparison.p_value,
            distinguishable: comparison.is_distinguishable(noise_floor),
        })
    }

    /// Lines through the density samples of each runtime: for both ways of
    /// measuring, and for the private part of the second.
    pub fn fits(&self) -> Vec<Fit> {
        let mut fits = Vec::new();
        for runtime in self.runtimes {
            let samples = self.samples.density.iter().filter(|s| &s.runtime == runtime);
            let mut used = Vec::new();
            let mut pss = Vec::new();
            let mut private = Vec::new();
            for sample in samples {
                let count = f64::from(sample.count);
                used.push((count, real(sample.used_bytes)));
                pss.push((count, real(total(&sample.pss_bytes))));
                if !sample.private_bytes.is_empty() {
                    private.push((count, real(total(&sample.private_bytes))));
                }
            }
            fits.extend(fit(runtime, "used_bytes", &used));
            fits.extend(fit(runtime, "pss_bytes", &pss));
            fits.extend(fit(runtime, "private_bytes", &private));
        }
        fits
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_reports::schema::{BootSample, DensitySample, Measurement, OperationSample};
    use rand::SeedableRng;

    const RUNTIMES: [&str; 2] = ["native", "container"];

    fn boot(runtime: &str, first_output: u64, warm_up: bool) -> BootSample {
        BootSample {
            runtime: runtime.to_owned(),
            block: 0,
            position: 0,
            warm_up,
            clocks_ns: [("first_output".to_owned(), first_output)].into(),
            kvm: BTreeMap::new(),
            kvm_at: BTreeMap::new(),
            exit_code: 0,
        }
    }

    fn operation(runtime: &str, ns_per_operation: f64) -> OperationSample {
        OperationSample {
            runtime: runtime.to_owned(),
            block: 0,
            operation: "getppid".to_owned(),
            iterations: 1,
            ns_per_operation,
        }
    }

    fn tables(samples: &Samples) -> Tables {
        tables_with(samples, None)
    }

    fn tables_with(samples: &Samples, twice: Option<&str>) -> Tables {
        let runtimes = RUNTIMES.map(str::to_owned);
        let summary = Summary { runtimes: &runtimes, samples, twice };
        summary.tables(&mut Generator::seed_from_u64(1))
    }

    /// `n` samples around 100 natively and 110 in the container.
    fn ten_percent_apart(n: u32) -> Samples {
        let samples = (0..n).flat_map(|index| {
            let jitter = f64::from(index % 5) / 10.0;
            [operation("native", 100.0 + jitter), operation("container", 110.0 + jitter)]
        });
        Samples { syscalls: samples.collect(), ..Samples::default() }
    }

    #[test]
    fn warm_ups_are_not_counted() {
        let mut samples = Samples::default();
        samples.boot.push(boot("native", 9_000, true));
        samples.boot.extend([3, 1, 2].map(|at| boot("native", at, false)));
        let Tables { cells, ratios, .. } = tables(&samples);
        let [cell] = &cells[..] else { panic!("{cells:?}") };
        assert_eq!((cell.metric.as_str(), cell.n), ("request→first_output", 3));
        assert_eq!((cell.min, cell.median, cell.max), (1.0, 2.0, 3.0));
        assert!(cell.low.is_nan() && cell.high.is_nan(), "three samples have no interval");
        assert!(ratios.is_empty());
    }

    #[test]
    fn measurements_of_any_workload_are_compared() {
        let measurement = |runtime: &str, metric: &str, unit: &str, value| Measurement {
            workload: "files".to_owned(),
            metric: metric.to_owned(),
            unit: unit.to_owned(),
            runtime: runtime.to_owned(),
            block: 0,
            value,
        };
        let measurements = (0..8).flat_map(|index| {
            let value = 100.0 + f64::from(index);
            [
                measurement("container", "read", "bytes/s", value / 2.0),
                measurement("native", "read", "bytes/s", value),
                measurement("native", "fsync", "ns", value),
            ]
        });
        let samples = Samples { measurements: measurements.collect(), ..Samples::default() };
        let Tables { cells, ratios, .. } = tables(&samples);
        let summarised: Vec<_> = cells
            .iter()
            .map(|cell| (&*cell.workload, &*cell.metric, &*cell.runtime, &*cell.unit, cell.n))
            .collect();
        assert_eq!(
            summarised,
            [
                ("files", "read", "native", "bytes/s", 8),
                ("files", "read", "container", "bytes/s", 8),
                ("files", "fsync", "native", "ns", 8),
            ]
        );
        let [ratio] = &ratios[..] else { panic!("{ratios:?}") };
        assert!((ratio.ratio - 0.5).abs() < 1e-9 && ratio.distinguishable, "{ratio:?}");
    }

    #[test]
    fn quantiles_are_given_where_samples_support_them() {
        let given = |n| {
            let cells = tables(&ten_percent_apart(n)).cells;
            (cells[0].p90.is_some(), cells[0].p99.is_some())
        };
        assert_eq!(given(19), (false, false));
        assert_eq!(given(20), (true, false));
        assert_eq!(given(200), (true, true));
    }

    #[test]
    fn a_difference_must_exceed_the_noise_floor() {
        let quiet = ten_percent_apart(12);
        let tables = tables_with(&quiet, Some("container"));
        let [ratio] = &tables.ratios[..] else { panic!("{:?}", tables.ratios) };
        assert_eq!((&*ratio.runtime, &*ratio.baseline), ("container", "native"));
        assert!((ratio.ratio - 1.1).abs() < 0.01 && ratio.distinguishable, "{ratio:?}");
        let [floor] = &tables.noise[..] else { panic!("{:?}", tables.noise) };
        assert_eq!((&*floor.metric, &*floor.runtime, floor.n), ("getppid", "container", 6));
        assert!(floor.floor < 0.01, "{floor:?}");
    }

    #[test]
    fn too_few_samples_are_never_distinguishable() {
        let ratios = tables(&ten_percent_apart(5)).ratios;
        assert!(!ratios[0].distinguishable && ratios[0].low.is_nan());
    }

    #[test]
    fn the_slope_is_bytes_for_each_sandbox() {
        let density = [1, 2, 4, 8].map(|count| DensitySample {
            runtime: "container".to_owned(),
            repetition: 0,
            count,
            used_bytes: 500 + 300 * i64::from(count),
            pss_bytes: [
                ("workload".to_owned(), 100 * u64::from(count)),
                ("helper".to_owned(), 20 * u64::from(count)),
            ]
            .into(),
            private_bytes: [("workload".to_owned(), 60 * u64::from(count))].into(),
            kernel_bytes: None,
        });
        let samples = Samples { density: density.to_vec(), ..Samples::default() };
        let runtimes = RUNTIMES.map(str::to_owned);
        let summary = Summary { runtimes: &runtimes, samples: &samples, twice: None };
        let [used, pss, private] = &summary.fits()[..] else { panic!("three fits") };
        assert!((used.slope - 300.0).abs() < 1e-6 && (used.intercept - 500.0).abs() < 1e-6);
        assert!((pss.slope - 120.0).abs() < 1e-6 && pss.n == 4);
        assert!((private.slope - 60.0).abs() < 1e-6 && private.metric == "private_bytes");
    }
}
