//! A comparison for a terminal, as Markdown, and as comma-separated values.

use std::fmt::Write;

use super::{Change, Comparison, Side};
use crate::csv::quoted;
use crate::tables::{self, Table};
use crate::units::many;
use crate::{markdown, terminal};

/// What is said of two hosts before anything else.
pub(super) const OTHER_HOST: &str = "These are two different hosts: a difference below may be the \
    machine's, and none of it is a regression of the software.";

/// What the figures are.
pub(super) const METHOD: &str = "Ratio of medians, second file to first, with its 95 % bootstrap \
    interval. Changed: the permutation test, adjusted for the number of metrics (Benjamini and \
    Hochberg, 5 %), the interval and the noise floor of both files agree.";

/// The comparison in a terminal.
#[must_use]
pub fn summary(comparison: &Comparison) -> String {
    let mut out = String::new();
    for (side, which) in [(&comparison.before, "before"), (&comparison.after, "after")] {
        let _ = writeln!(out, "{which:<7} {}", line(side));
    }
    if comparison.other_host() {
        let _ = writeln!(out, "\nDIFFERENT HOSTS. {OTHER_HOST}");
    }
    for (title, table) in parts(comparison) {
        terminal::section(&mut out, &title, "", &terminal::grid(&table));
    }
    let _ = writeln!(out, "\n{}", verdict(comparison));
    out
}

/// The comparison as Markdown.
#[must_use]
pub fn markdown(comparison: &Comparison) -> String {
    let mut out = format!("# {}\n\n", verdict(comparison));
    for (side, which) in [(&comparison.before, "Before"), (&comparison.after, "After")] {
        let _ = writeln!(out, "- **{which}:** {}", markdown::escape(&line(side)));
    }
    if comparison.other_host() {
        let _ = writeln!(out, "\n> **Different hosts.** {OTHER_HOST}");
    }
    let _ = writeln!(out, "\n{METHOD}");
    for (title, table) in parts(comparison) {
        markdown::section(&mut out, &title, "", &table);
    }
    out
}

/// Every metric of both files, one to a line (RFC 4180).
#[must_use]
pub fn csv(comparison: &Comparison) -> String {
    let mut out = String::from(
        "workload,metric,runtime,unit,n_before,n_after,before,after,ratio,low,high,\
         p_value_adjusted,noise_floor,verdict\r\n",
    );
    for change in &comparison.changes {
        let names = [&change.workload, &change.metric, &change.runtime, &change.unit];
        let names = names.map(|name| quoted(name)).join(",");
        let _ = write!(out, "{names},{},{}", change.n_before, change.n_after);
        let figures = [change.before, change.after, change.ratio, change.low, change.high];
        let figures = figures.map(Some).into_iter().chain([change.p_value, Some(change.floor)]);
        for figure in figures {
            crate::csv::number(&mut out, figure);
        }
        let _ = write!(out, ",{}\r\n", change.verdict.word());
    }
    out
}

/// The answer in one sentence.
pub(super) fn verdict(comparison: &Comparison) -> String {
    let (changed, all) = (comparison.changed().len(), comparison.changes.len());
    match changed {
        0 => format!("None of {} metrics changed beyond noise", many(all)),
        n => format!("{} of {} metrics changed beyond noise", many(n), many(all)),
    }
}

fn line(side: &Side) -> String {
    let partial = if side.partial { ", partial run" } else { "" };
    let line = format!(
        "{}: bulkhead {}, {}, {}, {}{partial}",
        side.name, side.tool_version, side.started, side.host, side.kvm
    );
    crate::view::printable(&line)
}

/// The tables that are not empty.
fn parts(comparison: &Comparison) -> Vec<(String, Table)> {
    let changed = comparison.changed();
    let unchanged = comparison.unchanged();
    let titled = |title: &str, changes: &[&Change]| {
        (title.to_owned(), tables::changes(changes, comparison))
    };
    let mut parts = vec![
        ("What is not the same".to_owned(), tables::settings(comparison)),
        titled("Changed", &changed),
        titled("Not changed", &unchanged),
        ("Not in both files".to_owned(), tables::missing(comparison)),
    ];
    parts.retain(|(_, table)| !table.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::tests::example;

    #[test]
    fn other_hosts_are_said_first() {
        let shown = summary(&example());
        let place = |what: &str| shown.find(what).unwrap_or_else(|| panic!("{what}\n{shown}"));
        assert!(place("DIFFERENT HOSTS") < place("Another <CPU>") || place("b.json") < 200);
        assert!(place("DIFFERENT HOSTS") < place("throughput"));
        assert!(place("throughput") < place("slower"), "the largest change comes first");
        assert!(shown.contains("3 of 4 metrics changed beyond noise"));
        assert!(shown.contains("64 at once"));
    }

    #[test]
    fn markdown_escapes_and_csv_has_every_metric() {
        let shown = markdown(&example());
        assert!(
            shown.contains("> **Different hosts.**") && shown.contains("Another &lt;CPU&gt;")
        );
        assert!(shown.contains("not distinguishable"));
        let lines = csv(&example());
        let columns: Vec<usize> =
            lines.split_terminator("\r\n").map(|line| line.split(',').count()).collect();
        assert_eq!(columns, [14; 5]);
    }
}
