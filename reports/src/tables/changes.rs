//! Tables of a comparison of two results files.

use super::{Table, figures, nothing, plain, with, words};
use crate::comparison::{Change, Comparison};
use crate::units::{self, Unit, probability};
use crate::view::{MARK, printable};

/// Metrics in both files.
pub fn changes(changes: &[&Change], comparison: &Comparison) -> Table {
    let mut table = Table::new([
        words("Metric"),
        words("Runtime"),
        figures("Before"),
        figures("After"),
        figures("After / before [95 %]"),
        figures("Test, adjusted"),
        words("Verdict"),
    ]);
    let emulated = comparison.before.emulated || comparison.after.emulated;
    for change in changes {
        let unit = Unit::named(&change.unit);
        let sized = |value, n: usize| with(unit.show(value), format!("n = {n}"));
        let ratio = units::ratio(change.ratio, change.low, change.high);
        let mark = if emulated && change.runtime.contains("microvm") {
            format!("\u{a0}{MARK}")
        } else {
            String::new()
        };
        table.rows.push(vec![
            with(printable(&change.metric), printable(&change.workload)),
            plain(printable(&change.runtime) + &mark),
            sized(change.before, change.n_before),
            sized(change.after, change.n_after),
            // A terminal shows nothing beside a cell.
            plain(ratio.to_string()),
            change.p_value.map_or_else(nothing, |p| plain(probability(p))),
            plain(change.verdict.word()),
        ]);
    }
    table
}

/// What differs about hosts and runs.
pub fn settings(comparison: &Comparison) -> Table {
    let mut table = Table::new(["", "Before", "After"].map(words));
    for setting in &comparison.settings {
        let whose = if setting.of_host { "of the host" } else { "" };
        table.rows.push(vec![
            with(setting.name, whose),
            plain(&setting.before),
            plain(&setting.after),
        ]);
    }
    table
}

/// Metrics that only one of the files has.
pub fn missing(comparison: &Comparison) -> Table {
    let mut table = Table::new(["Metric", "Only in"].map(words));
    let sides = [
        (&comparison.only_before, &comparison.before.name),
        (&comparison.only_after, &comparison.after.name),
    ];
    for (names, side) in sides {
        for name in names {
            table.rows.push(vec![plain(printable(name)), plain(printable(side))]);
        }
    }
    table
}
