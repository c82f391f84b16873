//! The first screen: what each wall costs here, in four questions.

use crate::isolation::score;
use crate::operations::{BARE_CALL, CONTROL};
use crate::schema::{Cell, DensitySample, Fit};
use crate::tables::spaced;
use crate::units::{Measured, Unit, count, float, times};
use crate::view::{
    NOT_DISTINGUISHABLE, NOT_FROM_ZERO, View, Wall, apart, doubt, is_within_noise, median,
    slope,
};

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
    /// It asks what a wall buys, not what it costs.
    pub buys: bool,
    /// One answer for each runtime that has one.
    pub answers: Vec<Answer>,
}

/// One runtime's figure.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Position of the runtime among all.
    pub place: usize,
    /// Chooses the colour.
    pub series: usize,
    /// The runtime.
    pub label: String,
    /// Its figure.
    pub figure: Measured,
    /// How that compares with the baseline.
    pub comparison: String,
    /// The same in three words, where there is room for no more.
    pub brief: String,
    /// Length of its bar, 0 to 100, on the question's logarithmic scale.
    pub bar: f64,
}

/// A runtime's figure before its bar is known.
struct Found<'v, 'a> {
    wall: &'v Wall<'a>,
    raw: f64,
    figure: Measured,
    comparison: String,
    brief: String,
}

/// The questions that these results answer.
pub fn questions(view: &View<'_>) -> Vec<Question> {
    let asked = [
        start(view),
        memory(view),
        call(view),
        control(view),
        gets_through(view),
        host_surface(view),
    ];
    asked.into_iter().filter(|question| !question.answers.is_empty()).collect()
}

fn start(view: &View<'_>) -> Question {
    let found = view.walls.iter().filter_map(|wall| {
        let cell = view.start(wall.name)?;
        Some(from_cell(view, wall, cell))
    });
    Question {
        title: "To start",
        about: "request to first byte of output, median".to_owned(),
        buys: false,
        answers: with_bars(found.collect()),
    }
}

/// The metric to lead with: host memory, as it leaves nothing out, unless that
/// behind some wall did not rise beyond noise; then what the processes hold. One for
/// all runtimes, so that they can be compared. A bare process may hold so little
/// that it cannot be seen: that is a figure too.
pub fn chief_memory(view: &View<'_>) -> (&'static str, &'static str) {
    let fits = |metric| view.results.fits.iter().filter(move |fit| fit.metric == metric);
    let bare = |fit: &Fit| {
        let info = view.results.runtimes.iter().find(|info| info.name == fit.runtime);
        info.is_some_and(|info| info.isolation == "native")
    };
    let mut walls = fits(USED).filter(|fit| !bare(fit)).peekable();
    let rises = walls.peek().is_some() && !walls.any(is_within_noise);
    if rises || fits(PSS).next().is_none() { (USED, PSS) } else { (PSS, USED) }
}

fn memory(view: &View<'_>) -> Question {
    let (chief, other) = chief_memory(view);
    let found = view.walls.iter().filter_map(|wall| {
        let Some(fit) = view.fit(wall.name, chief) else {
            return (chief == PSS).then(|| alone(view, wall)).flatten();
        };
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
            brief: beside_first(view, wall, fit),
        })
    });
    Question {
        title: "To keep",
        about: format!("{} for each further idle sandbox, slope of the fit", way(chief)),
        buys: false,
        answers: with_bars(found.collect()),
    }
}

/// What a single sandbox holds, where no more were alive at once: not a slope, and
/// said to be none.
fn alone<'v, 'a>(view: &View<'a>, wall: &'v Wall<'a>) -> Option<Found<'v, 'a>> {
    let single = |sample: &&DensitySample| sample.runtime == wall.name && sample.count == 1;
    let held: Vec<f64> = (view.results.density.iter().filter(single))
        .map(|sample| float(sample.pss_bytes.values().sum()))
        .collect();
    let bytes = held.iter().sum::<f64>() / count(held.len());
    (bytes > 0.0).then(|| Found {
        wall,
        raw: bytes,
        figure: Unit::Bytes.measured(bytes, f64::NAN, f64::NAN),
        comparison: ALONE.to_owned(),
        brief: ALONE.to_owned(),
    })
}

/// Said of memory that is not a slope.
const ALONE: &str = "of one alone: no slope";

/// A slope as a multiple of the baseline's, or of the first after it that is known
/// to rise; that of another way of starting as a part of the cold one's.
fn beside_first(view: &View<'_>, wall: &Wall<'_>, fit: &Fit) -> String {
    if is_within_noise(fit) {
        return NOT_FROM_ZERO.to_owned();
    }
    let rising = |first: &Wall<'_>| {
        let base = view.fit(first.name, &fit.metric).filter(|base| !is_within_noise(base))?;
        Some((first.label.clone(), base))
    };
    let mut earlier = view.walls.iter().take_while(|first| first.name != wall.name);
    let base = match view.cold_of(wall) {
        Some(cold) => rising(cold),
        None => earlier.find_map(rising),
    };
    let Some((label, base)) = base else { return String::new() };
    if apart(fit, base) {
        format!("{} {label}", times(fit.slope / base.slope))
    } else {
        format!("{NOT_DISTINGUISHABLE} from {label}")
    }
}

/// The way of measuring memory in words.
pub fn way(metric: &str) -> &'static str {
    if metric == USED { "host memory" } else { "process memory (PSS)" }
}

fn call(view: &View<'_>) -> Question {
    let operations = view.operations();
    let operation = operations.iter().copied().find(|name| *name == BARE_CALL);
    let operation = operation.or(operations.first().copied()).unwrap_or(BARE_CALL);
    let about = crate::operations::meaning(operation).map_or_else(
        || format!("{operation}, median"),
        |meaning| format!("{meaning} ({operation}), median"),
    );
    let answers = operation_answers(view, operation);
    Question { title: "To call the kernel", about, buys: false, answers }
}

fn control(view: &View<'_>) -> Question {
    Question {
        title: "To compute",
        about: format!("work without the kernel ({CONTROL}), median: should not differ"),
        buys: false,
        answers: operation_answers(view, CONTROL),
    }
}

/// How many attempts against the host succeed from behind each wall.
fn gets_through(view: &View<'_>) -> Question {
    let answers = view.walls.iter().filter_map(|wall| {
        let score = score(view, wall.name)?;
        let (reached, made) = (score.reached.len(), score.made);
        let names: Vec<String> = score.reached.iter().map(|name| spaced(name)).collect();
        Some(Answer {
            place: wall.place,
            series: wall.series,
            label: wall.label.clone(),
            figure: Measured { value: format!("{reached} of {made}"), interval: None },
            // Native reaches everything: a list of all says nothing.
            comparison: if reached < made / 2 { names.join(", ") } else { String::new() },
            brief: String::new(),
            bar: count(reached) / count(made) * 100.0,
        })
    });
    Question {
        title: "What gets through",
        about: "attempts on the host that succeeded".to_owned(),
        buys: true,
        answers: answers.collect(),
    }
}

/// How many different system calls each sandbox's processes make on the host.
fn host_surface(view: &View<'_>) -> Question {
    let of = |name: &str| view.results.surfaces.iter().find(|s| s.runtime == name);
    let largest = view.walls.iter().filter_map(|wall| Some(of(wall.name)?.system_calls.len()));
    let largest = count(largest.max().unwrap_or(0).max(1));
    let answers = view.walls.iter().filter_map(|wall| {
        let surface = of(wall.name)?;
        let filtered = surface.processes.iter().all(|process| process.seccomp_filter);
        let filter = if filtered { "seccomp filter" } else { "no seccomp filter" };
        Some(Answer {
            place: wall.place,
            series: wall.series,
            label: wall.label.clone(),
            figure: Measured { value: surface.system_calls.len().to_string(), interval: None },
            comparison: filter.to_owned(),
            brief: filter.to_owned(),
            bar: count(surface.system_calls.len()) / largest * 100.0,
        })
    });
    Question {
        title: "What it asks of the host",
        about: "different system calls it makes there".to_owned(),
        buys: true,
        answers: answers.collect(),
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
    let ratios = view.chief_ratios(cell);
    let compared: Vec<String> = ratios.iter().map(|ratio| view.compared(ratio)).collect();
    // Another way of starting is first of all compared with the cold one.
    let cold = view.cold_of(wall);
    let cold = cold.and_then(|c| view.between(&cell.workload, &cell.metric, wall.name, c.name));
    let chief = cold.or_else(|| ratios.first().map(|&ratio| ratio.clone()));
    let brief = chief.map_or_else(String::new, |ratio| match doubt(&ratio) {
        None => format!("{} {}", times(ratio.ratio), view.label(&ratio.baseline)),
        Some(doubt) => doubt.to_owned(),
    });
    let (comparison, figure) = (compared.join("; "), median(cell));
    Found { wall, raw: cell.median, figure, comparison, brief }
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
            place: found.wall.place,
            series: found.wall.series,
            label: found.wall.label.clone(),
            figure: found.figure,
            comparison: found.comparison,
            brief: found.brief,
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
mod tests;
