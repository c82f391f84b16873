//! Two results files compared with the statistics of one: what changed beyond
//! noise and what did not.
//!
//! A report has dozens of metrics. Tested one by one at 5 %, two identical runs
//! would "differ" in some of them every time, so p-values are adjusted for their
//! number: of the changes that are called one, at most 5 % are expected to be
//! chance (Benjamini and Hochberg, 1995).

use bulkhead_reports::comparison::{Change, Comparison, Side, Verdict, name, settings};
use bulkhead_reports::samples;
use bulkhead_reports::schema::{Cell, Fit, NoiseFloor, Results};
use rand::SeedableRng;

use crate::statistics::{
    Generator, Interval, median, permutation_p_value, ratio_interval, real,
};

/// Expected part of false alarms among the changes that are called one.
const FALSE_DISCOVERY_RATE: f64 = 0.05;

/// Seed of the resamples: the same files always give the same comparison.
const SEED: u64 = 0x62_75_6c_6b;

/// A results file with the name its reader gave it.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    /// The name.
    pub name: &'a str,
    /// What is in it.
    pub results: &'a Results,
}

/// Compares every metric that is in both results.
#[must_use]
pub fn compare(before: Named<'_>, after: Named<'_>) -> Comparison {
    let mut generator = Generator::seed_from_u64(SEED);
    let (first, second) = (before.results, after.results);
    let mut found: Vec<Found> = Vec::new();
    let (mut only_before, mut only_after) = (Vec::new(), Vec::new());
    for cell in &second.cells {
        if first.cells.iter().any(|other| same_cell(cell, other)) {
            found.extend(cells(first, second, cell, &mut generator));
        } else {
            only_after.push(name(&cell.workload, &cell.metric, &cell.runtime));
        }
    }
    for cell in &first.cells {
        if !second.cells.iter().any(|other| same_cell(cell, other)) {
            only_before.push(name(&cell.workload, &cell.metric, &cell.runtime));
        }
    }
    let mut changes = judged(found);
    changes.extend(slopes(first, second));
    Comparison {
        before: Side::of(first, before.name),
        after: Side::of(second, after.name),
        settings: settings(first, second),
        changes,
        only_before,
        only_after,
        runtimes: second.runtimes.iter().map(|runtime| runtime.name.clone()).collect(),
    }
}

fn same_cell(one: &Cell, other: &Cell) -> bool {
    (&one.workload, &one.metric, &one.runtime, &one.unit)
        == (&other.workload, &other.metric, &other.runtime, &other.unit)
}

/// A change before it is known how many there are.
struct Found {
    change: Change,
    interval: Option<Interval>,
}

fn cells(
    before: &Results,
    after: &Results,
    cell: &Cell,
    generator: &mut Generator,
) -> Option<Found> {
    let of = |results| samples::of(results, &cell.workload, &cell.metric, &cell.runtime);
    let (old, new) = (of(before), of(after));
    let (from, to) = (median(&old)?, median(&new)?);
    let interval = ratio_interval(&new, &old, generator);
    let ends = interval.unwrap_or(Interval { low: f64::NAN, high: f64::NAN });
    let floor = floor(before, cell).max(floor(after, cell));
    let change = Change {
        workload: cell.workload.clone(),
        metric: cell.metric.clone(),
        runtime: cell.runtime.clone(),
        unit: cell.unit.clone(),
        n_before: old.len(),
        n_after: new.len(),
        before: from,
        after: to,
        // Two medians of zero are the same.
        ratio: if to == from { 1.0 } else { to / from },
        low: ends.low,
        high: ends.high,
        p_value: permutation_p_value(&new, &old, generator),
        floor,
        verdict: Verdict::TooFew,
    };
    Some(Found { change, interval })
}

/// The noise floor of a metric: of the very runtime, or else the largest of any.
fn floor(results: &Results, cell: &Cell) -> f64 {
    let of_metric = |f: &&NoiseFloor| f.workload == cell.workload && f.metric == cell.metric;
    let own = results.noise.iter().filter(of_metric).find(|f| f.runtime == cell.runtime);
    let any = || results.noise.iter().filter(of_metric).map(|f| f.floor).fold(0.0, f64::max);
    own.map_or_else(any, |own| own.floor)
}

/// Adjusts the p-values and gives every change its verdict.
fn judged(found: Vec<Found>) -> Vec<Change> {
    let raw: Vec<f64> = found.iter().map(|f| f.change.p_value.unwrap_or(1.0)).collect();
    let adjusted = adjusted(&raw);
    found
        .into_iter()
        .zip(adjusted)
        .map(|(Found { mut change, interval }, p_value)| {
            change.p_value = change.p_value.map(|_| p_value);
            change.verdict = match interval {
                None => Verdict::TooFew,
                Some(interval) if is_change(&change, interval, p_value) => {
                    Verdict::of_change(&change.unit, change.ratio)
                }
                Some(_) => Verdict::NotDistinguishable,
            };
            change
        })
        .collect()
}

fn is_change(change: &Change, interval: Interval, p_value: f64) -> bool {
    p_value < FALSE_DISCOVERY_RATE
        && !interval.contains(1.0)
        && change.ratio.ln().abs() > change.floor.ln_1p()
}

/// Benjamini and Hochberg's adjusted p-values, in the order of `raw`.
fn adjusted(raw: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..raw.len()).collect();
    order.sort_by(|&a, &b| raw[a].total_cmp(&raw[b]));
    let mut adjusted = vec![1.0; raw.len()];
    let mut smallest = 1.0_f64;
    for (rank, &index) in order.iter().enumerate().rev() {
        smallest = smallest.min(raw[index] * real(raw.len()) / real(rank + 1));
        adjusted[index] = smallest;
    }
    adjusted
}

/// Memory for each further sandbox: changed where the intervals of the two slopes
/// do not meet, which is stricter than a test at their level.
fn slopes(before: &Results, after: &Results) -> Vec<Change> {
    let pairs = after.fits.iter().filter_map(|new| {
        let same = |old: &&Fit| old.runtime == new.runtime && old.metric == new.metric;
        Some((before.fits.iter().find(same)?, new))
    });
    pairs
        .map(|(old, new)| {
            let known = [old.slope_low, old.slope_high, new.slope_low, new.slope_high];
            let apart = new.slope_low > old.slope_high || new.slope_high < old.slope_low;
            let ratio = new.slope / old.slope;
            let positive = known.iter().all(|end| *end > 0.0);
            let end = |above: f64, below: f64| if positive { above / below } else { f64::NAN };
            Change {
                workload: "density".to_owned(),
                metric: format!("{} for each sandbox", new.metric),
                runtime: new.runtime.clone(),
                unit: "bytes".to_owned(),
                n_before: old.n,
                n_after: new.n,
                before: old.slope,
                after: new.slope,
                ratio,
                low: end(new.slope_low, old.slope_high),
                high: end(new.slope_high, old.slope_low),
                p_value: None,
                floor: 0.0,
                verdict: if !known.iter().all(|end| end.is_finite()) {
                    Verdict::TooFew
                } else if apart && positive {
                    Verdict::of_change("bytes", ratio)
                } else {
                    Verdict::NotDistinguishable
                },
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
