//! The answer in a terminal: what each wall costs, on one screen.

use std::fmt::Write;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table as Grid};

use crate::agreement::Agreement;
use crate::badge;
use crate::gaps::gaps;
use crate::method;
use crate::overview::{self, Question};
use crate::schema::Results;
use crate::tables::{self, Table};
use crate::units::elapsed;
use crate::view::{EMULATED, MARK, View, host_in_short};
use crate::workloads;

/// The results on one screen, without colours and without knowing how wide the
/// terminal is.
#[must_use]
pub fn summary(results: &Results) -> String {
    let view = View::new(results);
    let mut out = heading(&view);
    if !results.outcomes.is_empty() {
        let _ = writeln!(out, "\n{}", Agreement::of(results));
    }
    let questions = overview::questions(&view);
    for question in &questions {
        section(&mut out, question.title, &question.about, &answers(question));
    }
    if questions.is_empty() {
        // A run about something else: that is what is on the screen then.
        for name in view.further_workloads() {
            let table = tables::workload(&view, name);
            section(&mut out, &workloads::title(name), method::WORKLOADS, &grid(&table));
        }
    }
    let omitted = tables::omissions(&gaps(&view));
    if !omitted.is_empty() {
        section(&mut out, "Left out", "asked for and not measured", &grid(&omitted));
    }
    if view.emulated() {
        let _ = writeln!(out, "\n{MARK} {EMULATED}");
    }
    out
}

fn heading(view: &View<'_>) -> String {
    let (run, host) = (&view.results.run, &view.results.host);
    let mut out = format!(
        "What each wall costs on {}, {}\n",
        host_in_short(host),
        badge::text(view.results),
    );
    if run.partial {
        let _ = writeln!(
            out,
            "PARTIAL: the run was interrupted after {}; these are the samples until then.",
            elapsed(run.duration_seconds)
        );
    }
    out
}

pub(crate) fn section(out: &mut String, title: &str, about: &str, body: &str) {
    let about = if about.is_empty() { String::new() } else { format!(": {about}") };
    let _ = writeln!(out, "\n{title}{about}");
    for line in body.lines() {
        let _ = writeln!(out, " {}", line.trim_end());
    }
}

fn answers(question: &Question) -> String {
    let mut grid = empty_grid();
    for answer in &question.answers {
        grid.add_row([
            answer.label.clone(),
            answer.figure.value.clone(),
            answer.figure.interval.clone().unwrap_or_default(),
            answer.comparison.clone(),
        ]);
    }
    if let Some(column) = grid.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    grid.to_string()
}

pub(crate) fn grid(table: &Table) -> String {
    let mut grid = empty_grid();
    grid.set_header(table.head.iter().map(|head| head.text.as_str()));
    for row in &table.rows {
        grid.add_row(row.iter().map(|datum| datum.main.as_str()));
    }
    grid.to_string()
}

fn empty_grid() -> Grid {
    let mut grid = Grid::new();
    grid.load_style(NOTHING);
    grid
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use crate::schema::Omission;

    #[test]
    fn the_answer_its_warning_and_what_was_left_out() {
        let mut results = sample::results();
        results.omitted.push(Omission {
            workload: "density".to_owned(),
            runtime: "microvm".to_owned(),
            reason: "not enough memory for 8 sandboxes".to_owned(),
        });
        results.run.partial = true;
        let shown = summary(&results).replace('\u{a0}', " ");
        for expected in [
            "software KVM (kvm_pvm)",
            "PARTIAL",
            "To start",
            "3.10 ms",
            "[3.01, 3.22]",
            "3.44× native",
            "microvm †",
            "not distinguishable",
            "not enough memory for 8 sandboxes",
            "do not represent microVMs on hardware",
        ] {
            assert!(shown.contains(expected), "{expected:?} is missing in\n{shown}");
        }
    }

    #[test]
    fn a_run_about_something_else_shows_that() {
        let mut results = sample::results();
        results.boot.clear();
        results.density.clear();
        results.cells.retain(|cell| cell.workload == "boot");
        for cell in &mut results.cells {
            cell.workload = "custom".to_owned();
        }
        results.fits.clear();
        results.outcomes.push(crate::schema::CommandOutcome {
            runtime: "container".to_owned(),
            exit_code: 3,
            stdout_sha256: "0123456789abcdef".to_owned(),
            stdout_bytes: 12,
            times: 6,
        });
        let shown = summary(&results);
        for expected in ["Your own command", "request→first_output", "exit code 3, 12 bytes"]
        {
            assert!(shown.contains(expected), "{expected:?} is missing in\n{shown}");
        }
    }

    #[test]
    fn hardware_needs_no_warning() {
        let mut results = sample::results();
        results.host.kvm = None;
        let shown = summary(&results);
        assert!(!shown.contains(MARK) && shown.contains("no KVM on this host"), "{shown}");
    }
}
