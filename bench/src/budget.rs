//! Spending a given time where figures are least certain.
//!
//! Half of it goes to all workloads in equal shares, so that each has figures at
//! all. The rest is given out in helpings, each to the workload whose figures
//! have the widest intervals relative to themselves at that moment.

use std::time::Duration;

use rand::SeedableRng;

use crate::sampling::Stopped;
use crate::statistics::Generator;
use crate::summary::Summary;
use crate::workloads::{Bench, Workload};

/// A helping lengthens the time spent on a workload by one part in this many.
const HELPING: u32 = 4;

/// Measures for about `budget`, what an earlier part of the run took included.
pub fn spend(
    bench: &mut Bench<'_>,
    workloads: &[&'static dyn Workload],
    budget: Duration,
) -> Result<(), Stopped> {
    let share = budget / 2 / count(workloads.len());
    // One climb with every runtime is to fit into the share.
    let climb = share / count(bench.contenders.len());
    for limit in [&mut bench.profile.density.budget, &mut bench.profile.storm.budget] {
        *limit = climb.min(*limit);
    }
    for workload in workloads {
        bench.until = Some(share);
        workload.measure(bench)?;
    }
    let mut stuck = Vec::new();
    loop {
        let spent: Duration = bench.tracks.values().map(|track| track.elapsed).sum();
        let left = budget.saturating_sub(spent);
        let prospects: Vec<Prospect<'_>> = workloads
            .iter()
            .filter(|workload| !stuck.contains(&workload.name()))
            .filter_map(|&workload| prospect(bench, workload))
            .collect();
        let Some(chosen) = choose(&prospects, left) else { return Ok(()) };
        bench.until = Some(chosen.spent + chosen.helping(left));
        let (workload, finished) = (chosen.workload, chosen.finished);
        workload.measure(bench)?;
        if bench.tracks.get(workload.name()).is_none_or(|track| track.finished == finished) {
            // None of its runtimes works any more.
            stuck.push(workload.name());
        }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX).max(1)
}

/// What another helping would be for.
#[derive(Clone, Copy)]
struct Prospect<'w> {
    workload: &'w dyn Workload,
    /// Relative width of its intervals.
    width: f64,
    spent: Duration,
    per_block: Duration,
    finished: u32,
}

impl Prospect<'_> {
    /// At least a block, as it would not be measured at all otherwise.
    fn helping(&self, left: Duration) -> Duration {
        (self.spent / HELPING).min(left).max(self.per_block)
    }
}

/// `None` for a workload that has not been measured, or has no figures.
fn prospect<'w>(bench: &Bench<'_>, workload: &'w dyn Workload) -> Option<Prospect<'w>> {
    let track = bench.tracks.get(workload.name())?;
    let names: Vec<String> = bench.contenders.iter().map(|c| c.name().to_owned()).collect();
    let summary = Summary { runtimes: &names, samples: &bench.samples, twice: None };
    // Which of two widths is larger must not depend on chance more than necessary.
    let width = summary.width(workload.name(), &mut Generator::seed_from_u64(bench.seed))?;
    Some(Prospect {
        workload,
        width,
        spent: track.elapsed,
        per_block: track.per_block(),
        finished: track.finished,
    })
}

/// The least certain of those a block of which fits into the time left; among
/// several that have no interval yet, the one that costs the least.
fn choose<'p, 'w>(prospects: &'p [Prospect<'w>], left: Duration) -> Option<&'p Prospect<'w>> {
    prospects
        .iter()
        .filter(|prospect| prospect.per_block <= left && !left.is_zero())
        .max_by(|a, b| a.width.total_cmp(&b.width).then(b.per_block.cmp(&a.per_block)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads::{Boot, Density, Syscalls};

    const SECOND: Duration = Duration::from_secs(1);

    fn prospect(workload: &dyn Workload, width: f64, per_block: Duration) -> Prospect<'_> {
        Prospect { workload, width, spent: 40 * SECOND, per_block, finished: 9 }
    }

    #[test]
    fn time_goes_where_intervals_are_widest_and_a_block_still_fits() {
        let all = [
            prospect(&Boot, 0.05, SECOND),
            prospect(&Syscalls, f64::INFINITY, 20 * SECOND),
            prospect(&Density, 0.2, 5 * SECOND),
        ];
        let name = |left| choose(&all, left).map(|chosen| chosen.workload.name());
        assert_eq!(name(60 * SECOND), Some("syscalls"));
        let unknown = [
            prospect(&Syscalls, f64::INFINITY, 20 * SECOND),
            prospect(&Boot, f64::INFINITY, 6 * SECOND),
            prospect(&Density, f64::INFINITY, 30 * SECOND),
        ];
        let chosen = choose(&unknown, 60 * SECOND).map(|chosen| chosen.workload.name());
        assert_eq!(chosen, Some("boot"));
        assert_eq!(name(10 * SECOND), Some("density"));
        assert_eq!(name(2 * SECOND), Some("boot"));
        assert_eq!(name(SECOND / 2), None);
    }

    #[test]
    fn a_helping_is_a_part_of_what_was_spent_within_what_is_left() {
        let boot = prospect(&Boot, 0.1, 2 * SECOND);
        assert_eq!(boot.helping(60 * SECOND), 10 * SECOND);
        assert_eq!(boot.helping(5 * SECOND), 5 * SECOND);
        assert_eq!(Prospect { spent: SECOND, ..boot }.helping(60 * SECOND), 2 * SECOND);
    }
}
