//! The first screen: what each wall costs here, in four questions.

use crate::operations::{BARE_CALL, CONTROL};
use crate::schema::Cell;
use crate::units::{Measured, Unit};
use crate::view::{NOT_FROM_ZERO, View, Wall, is_within_noise, median, slope};

/// The metrics of [`crate::schema::Fit`].
const USED: &str = "used_bytes";
const PSS: &str = "pss_bytes";

/// One question and each runtime's answer.
#[derive(Debug, Clone)]
pub struct Question {
    /// Two words.
    pub title: &'static str,
    /// What the figures are.
    pub about: String,
    /// One answer for each runtime that has one.
    pub answers: Vec<Answer>,
}

/// One runtime's figure.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Chooses the colour.
    pub series: usize,
    /// The runtime.
    pub label: String,
    /// Its figure.
    pub figure: Measured,
    /// How that compares with the baseline.
    pub comparison: String,
    /// Length of its bar, 0 to 100, on the question's logarithmic scale.
    pub bar: f64,
}

/// A runtime's figure before its bar is known.
struct Found<'v, 'a> {
    wall: &'v Wall<'a>,
    raw: f64,
    figure: Measured,
    comparison: String,
}

/// The questions that these results answer.
pub fn questions(view: &View<'_>) -> Vec<Question> {
    let asked = [start(view), memory(view), call(view), control(view)];
    asked.into_iter().filter(|question| !question.answers.is_empty()).collect()
}

fn start(view: &View<'_>) -> Question {
    let found = view.walls.iter().filter_map(|wall| {
        let cell = view.start(wall.name)?;
        Some(from_cell(view, wall, cell))
    });
    Question {
        title: "To start",
        about: "from the request to the workload's first byte of output, median".to_owned(),
        answers: with_bars(found.collect()),
    }
}

/// The metric to lead with: host memory, as it leaves nothing out, unless some
/// runtime's did not rise beyond noise; then what the processes hold. One for
/// all runtimes, so that they can be compared.
fn chief_memory(view: &View<'_>) -> (&'static str, &'static str) {
    let fits = |metric| view.results.fits.iter().filter(move |fit| fit.metric == metric);
    let rises = fits(USED).next().is_some() && !fits(USED).any(is_within_noise);
    if rises || fits(PSS).next().is_none() { (USED, PSS) } else { (PSS, USED) }
}

fn memory(view: &View<'_>) -> Question {
    let (chief, other) = chief_memory(view);
    let found = view.walls.iter().filter_map(|wall| {
        let fit = view.fit(wall.name, chief)?;
        let beside = view.fit(wall.name, other).map(|fit| {
            let zero =
                if is_within_noise(fit) { format!(", {NOT_FROM_ZERO}") } else { String::new() };
            format!("{} {}{zero}", way(other), slope(fit))
        });
        Some(Found {
            wall,
            raw: fit.slope,
            figure: slope(fit),
            comparison: beside.unwrap_or_default(),
        })
    });
    Question {
        title: "To keep",
        about: format!("{} for each further idle sandbox, slope of the fit", way(chief)),
        answers: with_bars(found.collect()),
    }
}

/// The way of measuring memory in words.
fn way(metric: &str) -> &'static str {
    if metric == USED { "host memory" } else { "PSS of its processes" }
}

fn call(view: &View<'_>) -> Question {
    let operations = view.operations();
    let operation = operations.iter().copied().find(|name| *name == BARE_CALL);
    let operation = operation.or(operations.first().copied()).unwrap_or(BARE_CALL);
    let about = crate::operations::meaning(operation).map_or_else(
        || format!("{operation}, median"),
        |meaning| format!("{meaning} ({operation}), median"),
    );
    Question { title: "To call the kernel", about, answers: operation_answers(view, operation) }
}

fn control(view: &View<'_>) -> Question {
    Question {
        title: "To compute",
        about: format!("work without the kernel ({CONTROL}), median: should not differ"),
        answers: operation_answers(view, CONTROL),
    }
}

fn operation_answers(view: &View<'_>, operation: &str) -> Vec<Answer> {
    let found = view.walls.iter().filter_map(|wall| {
        let cell = view.cell("syscalls", operation, wall.name)?;
        Some(from_cell(view, wall, cell))
    });
    with_bars(found.collect())
}

fn from_cell<'v, 'a>(view: &View<'a>, wall: &'v Wall<'a>, cell: &Cell) -> Found<'v, 'a> {
    let compared: Vec<String> =
        view.chief_ratios(cell).into_iter().map(|ratio| view.compared(ratio)).collect();
    Found { wall, raw: cell.median, figure: median(cell), comparison: compared.join("; ") }
}

/// Bars on a logarithmic scale that begins a little below the smallest figure:
/// a linear one would show one bar and some dust.
fn with_bars(found: Vec<Found<'_, '_>>) -> Vec<Answer> {
    let positive = || found.iter().map(|f| f.raw).filter(|raw| raw.is_finite() && *raw > 0.0);
    let low = positive().fold(f64::INFINITY, f64::min).log10();
    let high = positive().fold(f64::NEG_INFINITY, f64::max).log10();
    // The smallest bar keeps a tenth; equal figures have equal, full bars.
    let bar = |raw: f64| {
        let part = (raw.log10() - low) / (high - low).max(1.0);
        let short = 1.0 - ((high - low) / (high - low).max(1.0));
        let bar = 10.0 + 90.0 * (part + short);
        if raw > 0.0 && bar.is_finite() { bar.clamp(0.0, 100.0) } else { 0.0 }
    };
    let bars: Vec<f64> = found.iter().map(|f| bar(f.raw)).collect();
    found
        .into_iter()
        .zip(bars)
        .map(|(found, bar)| Answer {
            series: found.wall.series,
            label: found.wall.label.clone(),
            figure: found.figure,
            comparison: found.comparison,
            bar,
        })
        .collect()
}

/// The answer in one sentence for each runtime: "container starts in … and …".
pub fn sentences(view: &View<'_>) -> Vec<String> {
    let said = |wall: &Wall<'_>| {
        let start =
            view.start(wall.name).map(|cell| format!("starts in {}", median(cell).value));
        let memory = view
            .fit(wall.name, chief_memory(view).0)
            .map(|fit| format!("takes {} of memory", Unit::Bytes.show(fit.slope)));
        let call = view
            .cell("syscalls", BARE_CALL, wall.name)
            .map(|cell| format!("pays {} for a system call", median(cell).value));
        let facts: Vec<String> = [start, memory, call].into_iter().flatten().collect();
        let (last, rest) = facts.split_last()?;
        let joined = if rest.is_empty() {
            last.clone()
        } else {
            format!("{} and {last}", rest.join(", "))
        };
        Some(format!("{} {joined}.", wall.label))
    };
    view.walls.iter().filter_map(said).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn four_questions_with_an_answer_for_each_runtime() {
        let results = sample::results();
        let view = View::new(&results);
        let questions = questions(&view);
        assert_eq!(questions.len(), 4);
        assert!(questions.iter().all(|question| question.answers.len() == 3));
        let start = &questions[0].answers;
        assert!(start[0].bar < start[1].bar && start[1].bar < start[2].bar);
        assert!((start[2].bar - 100.0).abs() < 1e-9, "{}", start[2].bar);
        assert!(start[2].comparison.contains("× native"), "{}", start[2].comparison);
        let control = &questions[3].answers;
        assert!((control[0].bar - control[2].bar).abs() < 1e-9);
    }

    #[test]
    fn a_slope_within_noise_is_said_to_be_and_not_quoted() {
        let mut results = sample::results();
        for fit in results.fits.iter_mut().filter(|fit| fit.metric == "used_bytes") {
            (fit.slope, fit.slope_low, fit.slope_high) = (-70_000.0, -150_000.0, 16_000.0);
        }
        let view = View::new(&results);
        let keep = &questions(&view)[1];
        let pss = slope(view.fit("container", "pss_bytes").unwrap());
        assert!(keep.about.starts_with("PSS"), "{}", keep.about);
        assert_eq!(keep.answers[1].figure, pss);
        assert!(keep.answers[1].comparison.ends_with(NOT_FROM_ZERO));
        assert!(sentences(&view)[1].contains(&format!("takes {} of memory", pss.value)));
    }

    #[test]
    fn nothing_measured_asks_nothing() {
        let mut results = sample::results();
        results.cells.clear();
        results.fits.clear();
        assert!(questions(&View::new(&results)).is_empty());
        assert!(sentences(&View::new(&results)).is_empty());
    }

    #[test]
    fn a_sentence_names_its_figures() {
        let results = sample::results();
        let said = sentences(&View::new(&results));
        assert_eq!(said.len(), 3);
        assert!(said[1].starts_with("container starts in 3.10\u{a0}ms, takes"), "{}", said[1]);
    }
}
