//! Table of how a run spent its time.

use super::{Table, figures, plain, with, words};
use crate::effort::{ended, part, samples};
use crate::units::{float, many};
use crate::view::{View, printable};
use crate::workloads::title;

/// How far each workload got, and what the rest of the run's time went into.
pub fn effort(view: &View<'_>) -> Table {
    let (results, whole) = (view.results, float(view.results.run.duration_seconds));
    let mut table = Table::new([
        words("Workload"),
        figures("Blocks"),
        figures("Samples"),
        figures("Time (of the run)"),
        words("It ended because"),
    ]);
    for workload in &results.effort.workloads {
        let unfinished = workload.blocks_begun.saturating_sub(workload.blocks_finished);
        let cut = match unfinished {
            0 => String::new(),
            more => format!("and {more} cut short"),
        };
        table.rows.push(vec![
            with(printable(&workload.workload), title_of(&workload.workload)),
            with(workload.blocks_finished.to_string(), cut),
            plain(many(samples(results, &workload.workload))),
            plain(part(workload.seconds, whole)),
            plain(ended(results, workload)),
        ]);
    }
    let measured: f64 = results.effort.workloads.iter().map(|workload| workload.seconds).sum();
    if !table.is_empty() && whole > measured {
        table.rows.push(vec![
            with("all else", "preparing, building, summing up"),
            plain(""),
            plain(""),
            plain(part(whole - measured, whole)),
            plain(""),
        ]);
    }
    table
}

/// A title that says more than the name.
fn title_of(workload: &str) -> String {
    let title = title(workload);
    if title.eq_ignore_ascii_case(workload) { String::new() } else { title }
}
