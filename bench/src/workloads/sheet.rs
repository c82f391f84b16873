//! Writing down what one sandbox showed.

use std::io;
use std::time::Duration;

use bulkhead_probe::line::{Line, Outcome};
use bulkhead_reports::schema::Measurement;

use super::Samples;
use crate::sampling::Slot;
use crate::statistics::real;

/// What a line of the probe counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// Calls: the figure is the time for each.
    Calls,
    /// Bytes: the figure is how many in a second.
    Bytes,
}

/// Takes the figures of one sandbox. Those of a warm-up are not kept.
pub struct Sheet<'s> {
    samples: &'s mut Samples,
    workload: &'static str,
    runtime: String,
    slot: Slot,
}

impl<'s> Sheet<'s> {
    pub fn new(
        samples: &'s mut Samples,
        workload: &'static str,
        runtime: &str,
        slot: Slot,
    ) -> Self {
        Self { samples, workload, runtime: runtime.to_owned(), slot }
    }

    /// A length of time; nothing where one of its ends was not seen.
    pub fn time(&mut self, metric: impl Into<String>, time: Option<Duration>) {
        if let Some(time) = time {
            self.push(metric.into(), "ns", time.as_secs_f64() * 1e9);
        }
    }

    /// An amount of memory; nothing where it is not accounted for.
    pub fn bytes(&mut self, metric: impl Into<String>, bytes: Option<u64>) {
        if let Some(bytes) = bytes {
            self.push(metric.into(), "bytes", real(bytes));
        }
    }

    /// A line of the probe; one that tells of an error becomes an omission.
    pub fn line(&mut self, metric: &str, counts: Counts, line: &Line) {
        match (line.outcome, counts) {
            (Outcome::Timed { iterations, total_ns }, Counts::Calls) => {
                self.push(metric.to_owned(), "ns", real(total_ns) / real(iterations));
            }
            (Outcome::Timed { iterations, total_ns }, Counts::Bytes) => {
                let seconds = real(total_ns.max(1)) / 1e9;
                self.push(metric.to_owned(), "bytes/s", real(iterations) / seconds);
            }
            (Outcome::Failed { errno }, _) => {
                let error = io::Error::from_raw_os_error(errno);
                let reason = format!("{metric}: it failed inside: {error}");
                self.samples.omit(self.workload, &self.runtime, reason);
            }
        }
    }

    fn push(&mut self, metric: String, unit: &str, value: f64) {
        if self.slot.warm_up {
            return;
        }
        self.samples.measurements.push(Measurement {
            workload: self.workload.to_owned(),
            metric,
            unit: unit.to_owned(),
            runtime: self.runtime.clone(),
            block: self.slot.block,
            value,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(samples: &mut Samples, warm_up: bool) -> Sheet<'_> {
        let slot = Slot { runtime: 0, block: 3, position: 0, warm_up };
        Sheet::new(samples, "files", "container", slot)
    }

    #[test]
    fn a_line_is_a_rate_or_a_time_or_an_omission() {
        let mut samples = Samples::default();
        let mut sheet = sheet(&mut samples, false);
        let line = |text: &str| text.parse::<Line>().unwrap();
        sheet.line("read", Counts::Bytes, &line("x 4096 2000"));
        sheet.line("access", Counts::Calls, &line("x 4 2000"));
        sheet.line("write", Counts::Bytes, &line("x error 30"));
        sheet.time("exit", None);
        let figures = samples.measurements.iter().map(|m| (&*m.metric, &*m.unit, m.value));
        let expected = [("read", "bytes/s", 2.048e9), ("access", "ns", 500.0)];
        assert_eq!(figures.collect::<Vec<_>>(), expected);
        let [omission] = &samples.omitted[..] else { panic!("{:?}", samples.omitted) };
        assert!(omission.reason.starts_with("write: it failed inside: Read-only"));
    }

    #[test]
    fn a_warm_up_leaves_no_figures() {
        let mut samples = Samples::default();
        sheet(&mut samples, true).time("exit", Some(Duration::from_secs(1)));
        assert!(samples.measurements.is_empty());
    }
}
