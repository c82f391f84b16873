//! The tables of a report, before anyone decides what a table looks like:
//! terminal, Markdown and HTML print the same cells.

mod changes;
mod effort;
mod evidence;
mod host;
mod kvm;
mod measured;
mod ways;
mod workloads;

pub use changes::{changes, missing, settings};
pub use effort::effort;
pub use evidence::{isolation, observations, spaced, surfaces, system_calls, virtualisation};
pub use host::{host, method, omissions, runtimes};
pub use kvm::{kvm_by_phase, kvm_counters};
pub use measured::{every_cell, every_ratio, memory, memory_split, phases, starts};
pub use ways::{memory_by_way, starts_by_way};
pub use workloads::{folklore, noise, operations, outcomes, workload};

use crate::units::NO_FIGURE;

/// Rows and columns of text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Table {
    /// Column heads.
    pub head: Vec<Head>,
    /// Rows, each as long as the head.
    pub rows: Vec<Vec<Datum>>,
}

/// Head of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// What the column holds.
    pub text: String,
    /// Figures, to be aligned at the right.
    pub figures: bool,
}

/// One cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datum {
    /// The figure or the word.
    pub main: String,
    /// What is said beside it: an interval, comparisons line by line, a meaning.
    pub aside: String,
}

impl Table {
    /// No rows: not worth printing.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn new(head: impl IntoIterator<Item = Head>) -> Self {
        Self { head: head.into_iter().collect(), rows: Vec::new() }
    }
}

/// Head of a column of words.
pub(crate) fn words(text: impl Into<String>) -> Head {
    Head { text: text.into(), figures: false }
}

/// Head of a column of figures.
pub(crate) fn figures(text: impl Into<String>) -> Head {
    Head { text: text.into(), figures: true }
}

/// A cell with nothing beside it.
pub(crate) fn plain(main: impl Into<String>) -> Datum {
    Datum { main: main.into(), aside: String::new() }
}

/// A cell with something beside it.
fn with(main: impl Into<String>, aside: impl Into<String>) -> Datum {
    Datum { main: main.into(), aside: aside.into() }
}

/// A cell without a figure.
fn nothing() -> Datum {
    plain(NO_FIGURE)
}

#[cfg(test)]
mod tests {
    use super::{Datum, Table};

    /// A table's rows as lines, for tests that look for words in it.
    pub fn text(table: &Table) -> String {
        let cell = |datum: &Datum| format!("{} {}", datum.main, datum.aside);
        let row = |row: &Vec<Datum>| row.iter().map(cell).collect::<Vec<_>>().join(" | ");
        table.rows.iter().map(row).collect::<Vec<_>>().join("\n").replace('\u{a0}', " ")
    }
}
