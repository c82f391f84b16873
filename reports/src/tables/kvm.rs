//! Tables of what KVM counted.

use std::collections::BTreeSet;

use super::{Datum, Table, figures, nothing, plain, words};
use crate::clocks::CLOCKS;
use crate::kvm::{COUNTERS, Phase, paid};
use crate::units::{Unit, float, whole};
use crate::view::{View, printable};

/// KVM's own counters at the end of each microVM's median start.
pub fn kvm_counters(view: &View<'_>) -> Table {
    let columns: Vec<_> = view
        .walls
        .iter()
        .filter_map(|wall| Some((wall, &view.median_start(wall.name)?.kvm)))
        .filter(|(_, counters)| !counters.is_empty())
        .collect();
    let mut table = Table::new(
        [words("Counter")]
            .into_iter()
            .chain(columns.iter().map(|(wall, _)| figures(&wall.label))),
    );
    let names: BTreeSet<&String> =
        columns.iter().flat_map(|(_, counters)| counters.keys()).collect();
    for name in names {
        let values: Vec<Option<u64>> =
            columns.iter().map(|(_, counters)| counters.get(name).copied()).collect();
        // Most of KVM's counters are zero in a short life: they say nothing.
        if values.iter().all(|value| value.is_none_or(|v| v == 0)) {
            continue;
        }
        let shown =
            values.into_iter().map(|value| value.map_or_else(nothing, |v| plain(whole(v))));
        table.rows.push([plain(printable(name))].into_iter().chain(shown).collect());
    }
    table
}

/// What KVM counted in each phase of the median start, and how long that took.
pub fn kvm_by_phase(view: &View<'_>) -> Table {
    let paid = paid(view);
    let heads = paid.iter().flat_map(|paid| {
        let label = &paid.wall.label;
        let counted = COUNTERS.map(|counter| figures(format!("{label}, {}", counter.title)));
        [figures(format!("{label}, time"))].into_iter().chain(counted)
    });
    let mut table = Table::new([words("Phase")].into_iter().chain(heads));
    let orders: BTreeSet<usize> =
        paid.iter().flat_map(|paid| paid.phases.iter().map(|phase| phase.order)).collect();
    for order in orders {
        let name = CLOCKS.get(order).map_or("the rest", |clock| clock.phase);
        let mut row = vec![plain(name)];
        for paid in &paid {
            row.extend(counts(paid.phases.iter().find(|phase| phase.order == order)));
        }
        table.rows.push(row);
    }
    table
}

/// The time of a phase and its counts.
fn counts(phase: Option<&Phase>) -> Vec<Datum> {
    let Some(phase) = phase else { return vec![nothing(); 1 + COUNTERS.len()] };
    let took =
        phase.nanoseconds.map_or_else(nothing, |ns| plain(Unit::Nanoseconds.show(float(ns))));
    [took].into_iter().chain(phase.counts.map(|count| plain(whole(count)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn every_phase_is_a_row_with_its_time_and_its_counts() {
        let results = sample::results();
        let view = View::new(&results);
        let table = kvm_by_phase(&view);
        assert_eq!((table.rows.len(), table.head.len()), (3, 5));
        assert!(table.rows.iter().all(|row| row.len() == 5));
        assert_eq!(table.rows[0][0].main, "guest kernel");
        assert_eq!(table.rows[2][3].main, "500,000");
        assert_eq!(kvm_counters(&view).rows.len(), 2);
    }

    #[test]
    fn without_counters_there_is_no_table() {
        let mut results = sample::results();
        for start in &mut results.boot {
            start.kvm_at.clear();
            start.kvm.clear();
        }
        let view = View::new(&results);
        assert!(kvm_by_phase(&view).is_empty() && kvm_counters(&view).is_empty());
    }
}
