//! Two results files side by side: what a comparison holds and how it is shown.
//!
//! The statistics are the harness's; here is what they found out, in the same
//! words as in a report.

mod page;
mod settings;
mod text;

use serde::Serialize;

pub use page::html;
pub use settings::{Setting, settings};
pub use text::{csv, markdown, summary};

use crate::schema::Results;
use crate::units::Unit;

/// What differs between two results files.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The first file.
    pub before: Side,
    /// The second file.
    pub after: Side,
    /// Everything about the hosts and the runs that is not the same.
    pub settings: Vec<Setting>,
    /// Every metric that is in both files.
    pub changes: Vec<Change>,
    /// Metrics of the first file that the second has not.
    pub only_before: Vec<String>,
    /// Metrics of the second file that the first has not.
    pub only_after: Vec<String>,
    /// Names of the runtimes in the order of the second file.
    pub runtimes: Vec<String>,
}

/// One of the two files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    /// The file as it was named.
    pub name: String,
    /// Version of bulkhead.
    pub tool_version: String,
    /// When the run began.
    pub started: String,
    /// The host in one line.
    pub host: String,
    /// Its kind of KVM in a few words.
    pub kvm: String,
    /// Its microVM figures say nothing about hardware.
    pub emulated: bool,
    /// The run was interrupted.
    pub partial: bool,
}

impl Side {
    /// What identifies `results`, read from `name`.
    #[must_use]
    pub fn of(results: &Results, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            tool_version: results.run.tool_version.clone(),
            started: results.run.started.clone(),
            host: crate::view::host_in_short(&results.host),
            kvm: crate::badge::text(results),
            emulated: crate::badge::emulates(results),
            partial: results.run.partial,
        }
    }
}

/// One metric of one runtime in both files.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// As in [`crate::schema::Cell::workload`].
    pub workload: String,
    /// As in [`crate::schema::Cell::metric`].
    pub metric: String,
    /// Name of the runtime.
    pub runtime: String,
    /// As in [`crate::schema::Cell::unit`].
    pub unit: String,
    /// Samples in the first file.
    pub n_before: usize,
    /// Samples in the second file.
    pub n_after: usize,
    /// Median, or slope, in the first file.
    pub before: f64,
    /// Median, or slope, in the second file.
    pub after: f64,
    /// The second divided by the first.
    pub ratio: f64,
    /// Lower end of its 95 % interval.
    pub low: f64,
    /// Upper end of its 95 % interval.
    pub high: f64,
    /// Permutation test of "no difference", adjusted for the number of metrics;
    /// none for a slope.
    pub p_value: Option<f64>,
    /// The noise floor that applied: 0.03 for 3 %.
    pub floor: f64,
    /// What the figures support.
    pub verdict: Verdict,
}

/// What two files say of one metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It changed for the worse.
    Worse,
    /// It changed for the better.
    Better,
    /// It changed, and neither way is the better one.
    Changed,
    /// Not distinguishable.
    NotDistinguishable,
    /// Too few samples to tell.
    TooFew,
}

impl Verdict {
    /// In words.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Worse => "worse",
            Self::Better => "better",
            Self::Changed => "changed",
            Self::NotDistinguishable => crate::view::NOT_DISTINGUISHABLE,
            Self::TooFew => crate::view::TOO_FEW,
        }
    }

    /// It changed beyond noise.
    #[must_use]
    pub fn is_change(self) -> bool {
        matches!(self, Self::Worse | Self::Better | Self::Changed)
    }

    /// Verdict on a change by `ratio` in `unit`.
    #[must_use]
    pub fn of_change(unit: &str, ratio: f64) -> Self {
        let rises = ratio > 1.0;
        match Unit::named(unit) {
            // How often something happened is neither good nor bad.
            Unit::Count => Self::Changed,
            unit if unit.more_is_better() == rises => Self::Better,
            _ => Self::Worse,
        }
    }
}

impl Change {
    /// How much worse the second is: 0.05 for 5 %; negative when it is better.
    #[must_use]
    pub fn worsening(&self) -> f64 {
        if Unit::named(&self.unit).more_is_better() {
            1.0 / self.ratio - 1.0
        } else {
            self.ratio - 1.0
        }
    }

    /// Workload, metric and runtime in one line.
    #[must_use]
    pub fn name(&self) -> String {
        name(&self.workload, &self.metric, &self.runtime)
    }
}

/// Workload, metric and runtime in one line.
#[must_use]
pub fn name(workload: &str, metric: &str, runtime: &str) -> String {
    crate::view::printable(&format!("{workload}: {metric}, {runtime}"))
}

impl Comparison {
    /// Whether the two files are of different hosts.
    #[must_use]
    pub fn other_host(&self) -> bool {
        self.settings.iter().any(|setting| setting.of_host)
    }

    /// The metrics that changed beyond noise, the largest change first.
    #[must_use]
    pub fn changed(&self) -> Vec<&Change> {
        let mut changed: Vec<&Change> =
            self.changes.iter().filter(|change| change.verdict.is_change()).collect();
        let size = |change: &Change| change.ratio.ln().abs();
        changed.sort_by(|a, b| size(b).total_cmp(&size(a)));
        changed
    }

    /// The metrics that did not.
    #[must_use]
    pub fn unchanged(&self) -> Vec<&Change> {
        self.changes.iter().filter(|change| !change.verdict.is_change()).collect()
    }

    /// The metrics that got worse beyond noise and by more than `threshold`:
    /// 0.05 for 5 %.
    #[must_use]
    pub fn regressions(&self, threshold: f64) -> Vec<&Change> {
        let worse = |change: &&Change| {
            change.verdict == Verdict::Worse && change.worsening() > threshold
        };
        self.changed().into_iter().filter(worse).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::sample;

    fn change(metric: &str, unit: &str, ratio: f64, verdict: Verdict) -> Change {
        Change {
            workload: "files".to_owned(),
            metric: metric.to_owned(),
            runtime: "container".to_owned(),
            unit: unit.to_owned(),
            n_before: 20,
            n_after: 20,
            before: 1e6,
            after: 1e6 * ratio,
            ratio,
            low: ratio * 0.98,
            high: ratio * 1.02,
            p_value: Some(0.0004),
            floor: 0.01,
            verdict,
        }
    }

    /// Three changes and one that is none, on two hosts.
    pub fn example() -> Comparison {
        let (before, mut after) = (sample::rich(), sample::rich());
        "Another <CPU>".clone_into(&mut after.host.cpu_model);
        "0.2.0".clone_into(&mut after.run.tool_version);
        Comparison {
            before: Side::of(&before, "a.json"),
            after: Side::of(&after, "b.json"),
            settings: settings(&before, &after),
            changes: vec![
                change("slower", "ns", 1.08, Verdict::Worse),
                change("throughput", "bytes/s", 0.5, Verdict::Worse),
                change("same", "ns", 1.004, Verdict::NotDistinguishable),
                change("faster", "ns", 0.8, Verdict::Better),
            ],
            only_before: vec!["storm: 64 at once, runc".to_owned()],
            only_after: vec![],
            runtimes: after.runtimes.iter().map(|r| r.name.clone()).collect(),
        }
    }

    #[test]
    fn a_regression_is_worse_by_more_than_the_threshold() {
        let names = |threshold| {
            let example = example();
            let found = example.regressions(threshold);
            found.into_iter().map(|change| change.metric.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(0.05), ["throughput", "slower"]);
        assert_eq!(names(0.10), ["throughput"]);
        // Half the throughput is twice the time.
        assert_eq!(names(0.99), ["throughput"]);
        assert!(names(1.01).is_empty());
    }

    #[test]
    fn worse_depends_on_the_unit() {
        assert_eq!(Verdict::of_change("ns", 1.2), Verdict::Worse);
        assert_eq!(Verdict::of_change("bytes/s", 1.2), Verdict::Better);
        assert_eq!(Verdict::of_change("bytes", 0.8), Verdict::Better);
        assert_eq!(Verdict::of_change("count", 0.8), Verdict::Changed);
    }
}
