//! Samples sorted by what they are samples of.

use std::borrow::Cow;

use bulkhead_runtime::Clock;

use super::Summary;
use crate::statistics::real;

/// KVM counters that are summarised; all of them are kept with the samples.
const KVM_COUNTERS: [&str; 3] = ["exits", "insn_emulation", "pf_taken"];

/// Which figures belong together: one metric of one workload.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series<'s> {
    pub workload: &'s str,
    pub metric: Cow<'s, str>,
    pub unit: &'s str,
    /// Samples of each runtime, by the runtime's index.
    pub columns: Vec<Column>,
}

/// The samples of one runtime.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Column {
    pub values: Vec<f64>,
    /// The interleaved block of each.
    pub blocks: Vec<u32>,
}

impl Column {
    fn push(&mut self, block: u32, value: f64) {
        self.values.push(value);
        self.blocks.push(block);
    }
}

impl Summary<'_> {
    pub(super) fn series(&self) -> Vec<Series<'_>> {
        let clocks = Clock::ALL.into_iter().filter(|&clock| clock != Clock::Request);
        let boot = clocks.map(|clock| self.boot_clock(clock));
        let counters = KVM_COUNTERS.into_iter().map(|name| self.kvm_counter(name));
        boot.chain(counters).chain(self.operations()).chain(self.measurements()).collect()
    }

    /// Groups `(runtime, block, value)` by runtime.
    fn group<'s>(&self, samples: impl Iterator<Item = (&'s str, u32, f64)>) -> Vec<Column> {
        let mut columns = vec![Column::default(); self.runtimes.len()];
        for (runtime, block, value) in samples {
            if let Some(index) = self.index(runtime) {
                columns[index].push(block, value);
            }
        }
        columns
    }

    fn boot_clock(&self, clock: Clock) -> Series<'_> {
        let counted = self.samples.boot.iter().filter(|sample| !sample.warm_up);
        let columns = self.group(counted.filter_map(|sample| {
            let at = sample.clocks_ns.get(clock.as_str())?;
            Some((sample.runtime.as_str(), sample.block, real(*at)))
        }));
        Series {
            workload: "boot",
            metric: format!("request→{clock}").into(),
            unit: "ns",
            columns,
        }
    }

    fn kvm_counter<'s>(&'s self, name: &'s str) -> Series<'s> {
        let counted = self.samples.boot.iter().filter(|sample| !sample.warm_up);
        let columns = self.group(counted.filter_map(|sample| {
            Some((sample.runtime.as_str(), sample.block, real(*sample.kvm.get(name)?)))
        }));
        Series { workload: "boot", metric: name.into(), unit: "count", columns }
    }

    /// One series for each operation of the probe, in the order it has them.
    fn operations(&self) -> Vec<Series<'_>> {
        let mut names: Vec<&str> = Vec::new();
        for sample in &self.samples.syscalls {
            if !names.contains(&sample.operation.as_str()) {
                names.push(&sample.operation);
            }
        }
        let series = |name| {
            let of_name = self.samples.syscalls.iter().filter(|s| s.operation == name);
            let columns =
                self.group(of_name.map(|s| (s.runtime.as_str(), s.block, s.ns_per_operation)));
            Series { workload: "syscalls", metric: Cow::Borrowed(name), unit: "ns", columns }
        };
        names.into_iter().map(series).collect()
    }

    /// One series for each metric of every further workload, in the order they
    /// were first measured.
    fn measurements(&self) -> Vec<Series<'_>> {
        let mut series: Vec<Series<'_>> = Vec::new();
        for sample in &self.samples.measurements {
            let Some(runtime) = self.index(&sample.runtime) else { continue };
            let known = series.iter().position(|series| {
                series.workload == sample.workload && series.metric == sample.metric
            });
            let index = known.unwrap_or_else(|| {
                series.push(Series {
                    workload: &sample.workload,
                    metric: Cow::Borrowed(&sample.metric),
                    unit: &sample.unit,
                    columns: vec![Column::default(); self.runtimes.len()],
                });
                series.len() - 1
            });
            series[index].columns[runtime].push(sample.block, sample.value);
        }
        series
    }
}
