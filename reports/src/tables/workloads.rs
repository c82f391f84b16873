//! Tables of one workload: a row for each metric, a column for each runtime.

use super::{Datum, Table, figures, nothing, plain, with, words};
use crate::operations::meaning;
use crate::schema::Cell;
use crate::units::{NO_FIGURE, Unit, many, number, whole};
use crate::view::{SYSCALLS, View, Wall, median, printable};

/// Beyond this many runtimes a cell has only the comparison with the baseline:
/// all others are in the appendix.
const ROOM_FOR_ALL: usize = 4;

/// The probe's operations in each runtime, and what that is of the baseline.
pub fn operations(view: &View<'_>) -> Table {
    workload(view, SYSCALLS)
}

/// Each metric of `workload` in each runtime, and what that is of the baseline.
pub fn workload(view: &View<'_>, workload: &str) -> Table {
    let metrics = view.metrics(workload);
    let walls: Vec<&Wall<'_>> = view
        .walls
        .iter()
        .filter(|w| metrics.iter().any(|metric| view.cell(workload, metric, w.name).is_some()))
        .collect();
    let first = if workload == SYSCALLS { "Operation" } else { "Metric" };
    let heads = walls.iter().map(|wall| figures(&wall.label));
    let mut table = Table::new([words(first)].into_iter().chain(heads));
    for metric in metrics {
        let cells: Vec<Option<&Cell>> =
            walls.iter().map(|wall| view.cell(workload, metric, wall.name)).collect();
        let mut row = vec![with(printable(metric), about(workload, metric, &cells))];
        let brief = walls.len() > ROOM_FOR_ALL;
        row.extend(
            cells.iter().map(|cell| cell.map_or_else(nothing, |cell| datum(view, cell, brief))),
        );
        table.rows.push(row);
    }
    table
}

/// What a metric means, or which way it is to be read.
fn about(workload: &str, metric: &str, cells: &[Option<&Cell>]) -> &'static str {
    let speed = cells.iter().flatten().any(|cell| Unit::named(&cell.unit).more_is_better());
    match meaning(metric) {
        Some(meaning) if workload == SYSCALLS => meaning,
        _ if speed => "more is better",
        _ => "",
    }
}

fn datum(view: &View<'_>, cell: &Cell, brief: bool) -> Datum {
    let ratios = view.chief_ratios(cell).into_iter();
    let mut aside: Vec<String> = ratios.map(|ratio| view.compared(ratio)).collect();
    if brief {
        aside.truncate(1);
    }
    with(median(cell).to_string(), aside.join("\n"))
}

/// How a user's own command ended behind each wall, and whether it wrote the same.
pub fn outcomes(view: &View<'_>) -> Table {
    let mut table = Table::new([
        words("Runtime"),
        figures("Runs"),
        figures("Exit code"),
        figures("Bytes written"),
        words("SHA-256 of the output"),
        words("As the first"),
    ]);
    let outcomes = &view.results.outcomes;
    for outcome in outcomes {
        let same = outcomes.first().is_some_and(|first| first.agrees_with(outcome));
        // Half of a digest tells outputs apart and leaves room for the rest.
        let digest = outcome.stdout_sha256.chars().take(32).collect::<String>();
        table.rows.push(vec![
            plain(view.label(&outcome.runtime)),
            plain(outcome.times.to_string()),
            plain(outcome.exit_code.to_string()),
            plain(whole(outcome.stdout_bytes)),
            plain(printable(&digest)),
            plain(if same { "the same" } else { "differs" }),
        ]);
    }
    table
}

/// What a runtime compared with itself shows.
pub fn noise(view: &View<'_>) -> Table {
    let mut table = Table::new([
        words("Workload"),
        words("Metric"),
        words("Runtime"),
        figures("n on each side"),
        figures("A/A ratio [95 %]"),
        figures("Noise floor"),
    ]);
    for floor in &view.results.noise {
        let ratio = crate::units::ratio(floor.ratio, floor.low, floor.high);
        table.rows.push(vec![
            plain(printable(&floor.workload)),
            plain(printable(&floor.metric)),
            plain(view.label(&floor.runtime)),
            plain(many(floor.n)),
            with(ratio.value, ratio.interval.unwrap_or_default()),
            plain(percent(floor.floor)),
        ]);
    }
    table
}

/// What people say, and what this run says.
pub fn folklore(view: &View<'_>) -> Table {
    let mut table = Table::new(["What people say", "Verdict", "Evidence"].map(words));
    for row in crate::folklore::rows(view) {
        table.rows.push(vec![plain(row.saying), plain(row.verdict.word()), plain(row.figure)]);
    }
    table
}

/// A part of one as per cent.
fn percent(part: f64) -> String {
    if part.is_finite() {
        format!("{}\u{a0}%", number(part * 100.0))
    } else {
        NO_FIGURE.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use crate::tables::tests::text;

    #[test]
    fn a_missing_difference_is_said_in_words() {
        let results = sample::results();
        let shown = text(&operations(&View::new(&results)));
        assert!(shown.contains("1.00× native [0.95, 1.06], not distinguishable"), "{shown}");
        assert!(shown.contains("1.36× native [1.29, 1.44]"), "{shown}");
    }

    #[test]
    fn every_workload_has_a_full_table() {
        let results = sample::rich();
        let view = View::new(&results);
        let workloads = view.further_workloads();
        assert_eq!(workloads, ["storm", "files", "compute", "lifecycle", "custom"]);
        for name in workloads {
            let table = workload(&view, name);
            assert_eq!(table.rows.len(), view.metrics(name).len());
            assert!(table.rows.iter().all(|row| row.len() == 9), "{name}");
        }
        let files = text(&workload(&view, "files"));
        assert!(files.contains("more is better") && files.contains("GiB/s"), "{files}");
        assert!(!text(&workload(&view, "storm")).contains("more is better"));
    }

    #[test]
    fn another_output_is_said_to_differ() {
        let results = sample::rich();
        let table = outcomes(&View::new(&results));
        assert_eq!(table.rows.len(), results.outcomes.len());
        let verdicts: Vec<&str> = table.rows.iter().map(|row| row[5].main.as_str()).collect();
        assert_eq!(verdicts[..2], ["the same", "the same"]);
        assert_eq!(verdicts[2], "differs");
    }

    #[test]
    fn a_noise_floor_is_per_cent() {
        let results = sample::rich();
        let table = noise(&View::new(&results));
        assert_eq!(table.rows.len(), results.noise.len());
        assert!(text(&table).contains("1.25 %"), "{}", text(&table));
        assert_eq!(percent(f64::NAN), NO_FIGURE);
    }
}
