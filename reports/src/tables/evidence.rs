//! Tables of what a wall buys: attempts, host surface, and what the host's KVM
//! is made of.

use super::{Datum, Table, figures, nothing, plain, with, words};
use crate::isolation::{matrix, word};
use crate::units::{Unit, many, whole};
use crate::view::{View, printable};
use crate::virtualisation::meaning;

/// How each attempt ended behind each wall.
pub fn isolation(view: &View<'_>) -> Table {
    let matrix = matrix(view);
    let heads = matrix.walls.iter().map(words);
    let mut table = Table::new([words("Attempt")].into_iter().chain(heads));
    for row in matrix.rows {
        let cells =
            row.cells.iter().map(|c| c.as_ref().map_or_else(nothing, |c| plain(c.word)));
        table.rows.push([with(row.name, row.meaning)].into_iter().chain(cells).collect());
    }
    table
}

/// What the host saw of every attempt, for the appendix.
pub fn observations(view: &View<'_>) -> Table {
    let mut table = Table::new(
        ["Attempt", "Runtime", "Outcome", "What the host saw", "What the inside said"]
            .map(words),
    );
    for attempt in &view.results.attempts {
        table.rows.push(vec![
            plain(spaced(&attempt.attempt)),
            plain(view.label(&attempt.runtime)),
            plain(word(attempt.outcome)),
            plain(printable(&attempt.evidence)),
            plain(printable(&attempt.inside)),
        ]);
    }
    table
}

/// What the host processes of each sandbox hold.
pub fn surfaces(view: &View<'_>) -> Table {
    let mut table = Table::new([
        words("Runtime"),
        words("Host process"),
        figures("Distinct calls"),
        words("Capabilities"),
        words("Own namespaces"),
        words("Seccomp"),
        words("no_new_privs"),
    ]);
    for surface in view.surfaces() {
        let distinct = many(surface.system_calls.len());
        for (index, process) in surface.processes.iter().enumerate() {
            // The calls are of all processes of a sandbox together.
            let calls = if index == 0 { plain(distinct.clone()) } else { plain("") };
            table.rows.push(vec![
                plain(view.label(&surface.runtime)),
                plain(printable(&process.role)),
                calls,
                list(&process.capabilities),
                list(&process.namespaces),
                plain(if process.seccomp_filter { "filter" } else { "none" }),
                plain(if process.no_new_privileges { "set" } else { "not set" }),
            ]);
        }
    }
    table
}

/// Every system call that reached the host's kernel, for the appendix.
pub fn system_calls(view: &View<'_>) -> Table {
    let mut table =
        Table::new(["Runtime", "While running", "System calls on the host"].map(words));
    for surface in view.surfaces() {
        let calls = surface.system_calls.iter();
        let calls: Vec<String> =
            calls.map(|(name, n)| format!("{}\u{a0}{}", printable(name), whole(*n))).collect();
        table.rows.push(vec![
            plain(view.label(&surface.runtime)),
            plain(printable(&surface.workload)),
            plain(calls.join(", ")),
        ]);
    }
    table
}

/// None, a few by name, or how many.
fn list(names: &[String]) -> Datum {
    match names.len() {
        0 => plain("none"),
        1..=8 => plain(names.iter().map(|name| printable(name)).collect::<Vec<_>>().join(", ")),
        more => plain(many(more)),
    }
}

/// A name of the results in words.
pub fn spaced(name: &str) -> String {
    printable(name).replace('_', " ")
}

/// What a few bytes of code on a bare virtual processor cost.
pub fn virtualisation(view: &View<'_>) -> Table {
    let mut table = Table::new([
        words("On a bare virtual processor"),
        figures("n"),
        figures("Median [95 %]"),
    ]);
    for figure in view.results.virtualisation.iter().flat_map(|profile| &profile.figures) {
        let unit = Unit::named(&figure.unit);
        let shown = unit.measured(figure.median, figure.low, figure.high);
        table.rows.push(vec![
            with(spaced(&figure.name), meaning(&figure.name)),
            plain(many(figure.samples.len())),
            with(shown.value, shown.interval.unwrap_or_default()),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn every_attempt_is_a_row_and_every_runtime_a_column() {
        let results = sample::rich();
        let view = View::new(&results);
        let table = isolation(&view);
        assert_eq!((table.rows.len(), table.head.len()), (18, 9));
        assert!(table.rows.iter().all(|row| row.len() == 9));
        assert_eq!(table.rows[2][0].main, "mount");
        let outcomes: Vec<&str> = table.rows[2][1..4].iter().map(|d| d.main.as_str()).collect();
        assert_eq!(outcomes, ["reached", "refused", "own only"]);
        assert_eq!(observations(&view).rows.len(), results.attempts.len());
    }

    #[test]
    fn what_was_not_measured_has_no_table() {
        let results = sample::results();
        let view = View::new(&results);
        for table in
            [isolation(&view), surfaces(&view), system_calls(&view), virtualisation(&view)]
        {
            assert!(table.is_empty());
        }
    }

    #[test]
    fn surfaces_and_the_bare_processor_have_full_rows() {
        let results = sample::rich();
        let view = View::new(&results);
        for table in [surfaces(&view), system_calls(&view), virtualisation(&view)] {
            assert!(!table.is_empty());
            assert!(table.rows.iter().all(|row| row.len() == table.head.len()), "{table:?}");
        }
        let ring0 = &virtualisation(&view).rows[5];
        assert_eq!(ring0[0], with("ring0 rate", "instructions of a guest's kernel"));
        assert_eq!(ring0[2].main, "1.10\u{a0}M/s");
    }
}
