//! Factors: a dot and its interval for each runtime, one row for each metric, on
//! a logarithmic axis with a line at "no difference".

use super::axis::Axis;
use super::canvas::{Anchor, Canvas, DrawError, Drawn, Ink, Type, svg};
use super::{Figure, Layout};
use crate::schema::{NoiseFloor, Ratio};
use crate::units::{self, Unit, count};
use crate::view::{SYSCALLS, View, Wall, distinct, printable};

const HEAD: f64 = 24.0;
const FOOT: f64 = 26.0;

/// Distance between the runtimes of one metric.
const STAGGER: f64 = 11.0;

/// Width of a name before it is broken or cut, in letters, beside and above its row.
const LETTERS: (usize, usize) = (35, 52);

/// Room for what is written at the line of no difference.
const SAME: f64 = 120.0;

/// Height of a row with a name in two lines.
const TWO_LINES: f64 = 34.0;

/// What one metric is of another, for each runtime.
pub struct Row {
    /// The metric.
    pub name: String,
    /// One for each runtime.
    pub points: Vec<Point>,
}

/// One factor with its interval.
pub struct Point {
    /// Chooses the colour.
    pub series: usize,
    /// The factor.
    pub factor: f64,
    /// Lower end of its interval.
    pub low: f64,
    /// Upper end of its interval.
    pub high: f64,
    /// Not told apart from "no difference".
    pub hollow: bool,
}

/// The chart, where there is anything to draw; `same` is written at the line.
pub fn factors(rows: &[Row], description: &str, same: &str) -> Option<Figure> {
    (!rows.is_empty()).then(|| Figure::draw(|layout| chart(rows, description, same, layout)))
}

impl Row {
    fn largest(&self) -> f64 {
        self.points.iter().map(|point| point.factor).fold(0.0, f64::max)
    }
}

/// Each metric of `workload` compared with the baseline, where any was; the
/// probe's operations come dearest first, as their order says nothing.
pub fn figure(view: &View<'_>, workload: &str) -> Option<Figure> {
    let baseline = view.walls.first()?;
    let mut rows: Vec<Row> = view
        .metrics(workload)
        .into_iter()
        .map(|metric| Row {
            name: named(view, workload, metric),
            points: compared(view, baseline, workload, metric),
        })
        .filter(|row| !row.points.is_empty())
        .collect();
    if workload == SYSCALLS {
        rows.sort_by(|a, b| b.largest().total_cmp(&a.largest()));
    }
    let description = format!("Each metric as a multiple of {}", baseline.label);
    let same = format!("same as {}", baseline.label);
    factors(&rows, &description, &same)
}

/// A metric, and that more of it is better where it is.
fn named(view: &View<'_>, workload: &str, metric: &str) -> String {
    let mut cells = view.results.cells.iter();
    let cell = cells.find(|cell| cell.workload == workload && cell.metric == metric);
    let speed = cell.is_some_and(|cell| Unit::named(&cell.unit).more_is_better());
    printable(metric) + if speed { " (speed)" } else { "" }
}

/// Each runtime compared with itself.
pub fn noise(view: &View<'_>) -> Option<Figure> {
    let floors = &view.results.noise;
    let of = |workload: &str, metric: &str| {
        let same = |f: &&NoiseFloor| f.workload == workload && f.metric == metric;
        floors.iter().filter(same).filter_map(|floor| itself(view, floor)).collect()
    };
    let mut rows = Vec::new();
    for workload in distinct(floors.iter().map(|floor| floor.workload.as_str())) {
        let mine = floors.iter().filter(|floor| floor.workload == workload);
        for metric in distinct(mine.map(|floor| floor.metric.as_str())) {
            let name = format!("{}: {}", printable(workload), printable(metric));
            rows.push(Row { name, points: of(workload, metric) });
        }
    }
    rows.retain(|row| !row.points.is_empty());
    factors(&rows, "Each runtime compared with itself", "same")
}

fn itself(view: &View<'_>, floor: &NoiseFloor) -> Option<Point> {
    let wall = view.walls.iter().find(|wall| wall.name == floor.runtime)?;
    let (factor, low, high) = (floor.ratio, floor.low, floor.high);
    let hollow = low <= 1.0 && 1.0 <= high;
    drawable(factor).then_some(Point { series: wall.series, factor, low, high, hollow })
}

fn compared(view: &View<'_>, baseline: &Wall<'_>, workload: &str, metric: &str) -> Vec<Point> {
    let chosen = |ratio: &&Ratio| ratio.baseline == baseline.name && drawable(ratio.ratio);
    view.walls
        .iter()
        .filter(|wall| wall.name != baseline.name)
        .filter_map(|wall| {
            let ratio = view.ratios(workload, metric, wall.name).into_iter().find(chosen)?;
            Some(Point {
                series: wall.series,
                factor: ratio.ratio,
                low: ratio.low,
                high: ratio.high,
                hollow: !ratio.distinguishable,
            })
        })
        .collect()
}

/// Whether a factor has a place on a logarithmic axis.
pub fn drawable(factor: f64) -> bool {
    factor.is_finite() && factor > 0.0
}

fn chart(
    rows: &[Row],
    description: &str,
    same: &str,
    layout: Layout,
) -> Result<String, DrawError> {
    let width = layout.width();
    let most = rows.iter().map(|row| row.points.len()).max().unwrap_or(1);
    let (left, right, pitch) = match layout {
        Layout::Wide => {
            let broken = rows.iter().any(|row| in_lines(&row.name).1.is_some());
            let least = if broken { TWO_LINES } else { 0.0 };
            (250.0, width - 64.0, (STAGGER * count(most) + 14.0).max(least))
        }
        Layout::Narrow => (46.0, width - 46.0, STAGGER * count(most) + 30.0),
    };
    let ends = |point: &Point| [point.factor, point.low, point.high];
    let values: Vec<f64> =
        rows.iter().flat_map(|row| row.points.iter().flat_map(ends)).chain([1.0]).collect();
    let axis = Axis::logarithmic(&values, left, right);
    let bottom = HEAD + pitch * count(rows.len());
    svg(width, bottom + FOOT, description, |canvas| {
        grid(canvas, &axis, same, layout, bottom)?;
        for (index, row) in rows.iter().enumerate() {
            draw_row(canvas, row, &axis, layout, (HEAD + count(index) * pitch, pitch))?;
        }
        Ok(())
    })
}

fn grid(canvas: &Canvas<'_>, axis: &Axis, same: &str, layout: Layout, bottom: f64) -> Drawn {
    let muted = Type::label(Ink::Muted);
    let most = if layout == Layout::Wide { 10 } else { 5 };
    for tick in axis.ticks(Unit::Count, most) {
        let x = axis.at(tick);
        canvas.line((x, HEAD), (x, bottom), Ink::Grid, 1.0)?;
        let label = format!("{}×", plain_factor(tick));
        canvas.text(&label, (x, bottom + 14.0), Anchor::Middle, muted)?;
    }
    let one = axis.at(1.0);
    canvas.line((one, HEAD - 4.0), (one, bottom), Ink::Text, 1.5)?;
    // The line at 1 is usually near the left edge: write away from it.
    let room = layout.width() - one;
    let anchor = if room < SAME { Anchor::End } else { Anchor::Start };
    canvas.text(same, (one, HEAD - 13.0), anchor, muted)
}

/// 1, 10, 0.1, 10,000: exact, as ticks are round.
fn plain_factor(tick: f64) -> String {
    if tick >= 100.0 {
        units::number(tick)
    } else {
        let text = format!("{tick:.4}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

fn draw_row(
    canvas: &Canvas<'_>,
    row: &Row,
    axis: &Axis,
    layout: Layout,
    (top, pitch): (f64, f64),
) -> Drawn {
    canvas.line((0.0, top), (layout.width(), top), Ink::Grid, 0.6)?;
    let text = Type::label(Ink::Text);
    let height = STAGGER * count(row.points.len().saturating_sub(1));
    let first = match layout {
        Layout::Wide => {
            let middle = top + pitch / 2.0;
            match in_lines(&row.name) {
                (name, None) => canvas.text(&name, (0.0, middle), Anchor::Start, text)?,
                (one, Some(two)) => {
                    canvas.text(&one, (0.0, middle - 7.5), Anchor::Start, text)?;
                    canvas.text(&two, (0.0, middle + 7.5), Anchor::Start, text)?;
                }
            }
            top + (pitch - height) / 2.0
        }
        Layout::Narrow => {
            // The grid would run through the name.
            let (from, to) = ((0.0, top + 2.0), (layout.width(), top + 22.0));
            canvas.rectangle(from, to, Ink::Page, 1.0)?;
            let name = shortened(&row.name, LETTERS.1);
            canvas.text(&name, (0.0, top + 14.0), Anchor::Start, text)?;
            top + 28.0
        }
    };
    for (index, point) in row.points.iter().enumerate() {
        draw_point(canvas, point, axis, first + STAGGER * count(index))?;
    }
    Ok(())
}

fn draw_point(canvas: &Canvas<'_>, point: &Point, axis: &Axis, y: f64) -> Drawn {
    let ink = Ink::Series(point.series);
    if point.low.is_finite() && point.high.is_finite() && point.low > 0.0 {
        canvas.line((axis.at(point.low), y), (axis.at(point.high), y), ink, 2.0)?;
    }
    let center = (axis.at(point.factor), y);
    if point.hollow {
        canvas.dot(center, 4.0, Ink::Page, 1.0)?;
        canvas.ring(center, 3.6, ink, 1.5)?;
    } else {
        canvas.dot(center, 4.0, ink, 1.0)?;
    }
    // Away from the line at 1, which would run through the figure.
    let (edge, anchor) = if point.factor < 1.0 {
        (axis.at(point.factor.min(point.low)) - 9.0, Anchor::End)
    } else {
        (axis.at(point.factor.max(point.high)) + 9.0, Anchor::Start)
    };
    let small = Type { size: 10.5, ink: Ink::Muted, bold: false };
    canvas.text(&units::times(point.factor), (edge, y), anchor, small)
}

/// A name beside its row, in two lines where one is too short for it.
fn in_lines(name: &str) -> (String, Option<String>) {
    if name.chars().count() <= LETTERS.0 {
        return (name.to_owned(), None);
    }
    let fits = |(at, _): &(usize, char)| name[..*at].chars().count() <= LETTERS.0;
    let spaces = name.char_indices().filter(|(at, c)| *c == ' ' && *at > 0);
    match spaces.rev().find(fits) {
        Some((at, _)) => (name[..at].to_owned(), Some(shortened(&name[at + 1..], LETTERS.0))),
        None => (shortened(name, LETTERS.0), None),
    }
}

/// A name cut to `most` letters.
fn shortened(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        return name.to_owned();
    }
    name.chars().take(most - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_broken_at_a_space_and_cut_only_then() {
        assert_eq!(in_lines("getppid"), ("getppid".to_owned(), None));
        let (one, two) = in_lines("writable layer: random 4 KiB write and fsync");
        assert_eq!(
            (one.as_str(), two.as_deref()),
            ("writable layer: random 4 KiB write", Some("and fsync"))
        );
        let (one, two) = in_lines(&"é".repeat(80));
        assert!(one.ends_with('…') && two.is_none());
        assert_eq!(one.chars().count(), LETTERS.0);
    }
}
