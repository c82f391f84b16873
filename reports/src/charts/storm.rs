//! Start storms: how long it takes until the last of k sandboxes, asked for at
//! the same moment, is up. Both axes are logarithmic, so that a line as steep as
//! the diagonal means: twice as many take twice as long.

use super::axis::{Axis, Grid};
use super::canvas::{Canvas, DrawError, Drawn, Ink, svg};
use super::names::{self, End};
use super::{Figure, Layout, stroke};
use crate::schema::Cell;
use crate::units::Unit;
use crate::view::{View, Wall};
use crate::workloads::STORM;

const TOP: f64 = 12.0;

/// Between the dots of two runtimes at one number, pixels.
const ASIDE: f64 = 3.0;

/// What follows the number in the name of a storm's metric.
const LAST: &str = " at once: last first_output";

/// One runtime's storms.
struct Line<'v, 'a> {
    wall: &'v Wall<'a>,
    /// How many at once, and the time until all were up.
    storms: Vec<(f64, &'a Cell)>,
    /// To the left or right of the exact place, pixels.
    aside: f64,
}

/// The chart, where more than one sandbox was started at once.
pub fn figure(view: &View<'_>) -> Option<Figure> {
    let mut lines: Vec<Line<'_, '_>> =
        view.walls.iter().filter_map(|wall| line(view, wall)).collect();
    let many = lines.iter().any(|line| line.storms.iter().any(|(at_once, _)| *at_once > 1.0));
    let middle = crate::units::count(lines.len().saturating_sub(1)) / 2.0;
    for (index, line) in lines.iter_mut().enumerate() {
        line.aside = (crate::units::count(index) - middle) * ASIDE;
    }
    many.then(|| Figure::draw(|layout| chart(&lines, names::room(view), layout)))
}

fn line<'v, 'a>(view: &View<'a>, wall: &'v Wall<'a>) -> Option<Line<'v, 'a>> {
    let storms: Vec<(f64, &Cell)> = view
        .metrics(STORM)
        .into_iter()
        .filter_map(|metric| {
            let at_once: u32 = metric.strip_suffix(LAST)?.parse().ok()?;
            let cell = view.cell(STORM, metric, wall.name)?;
            let drawable = at_once > 0 && cell.median > 0.0 && cell.median.is_finite();
            drawable.then_some((f64::from(at_once), cell))
        })
        .collect();
    (!storms.is_empty()).then_some(Line { wall, storms, aside: 0.0 })
}

fn chart(lines: &[Line<'_, '_>], room: f64, layout: Layout) -> Result<String, DrawError> {
    let width = layout.width();
    let (left, right, height) = match layout {
        Layout::Wide => (64.0, width - 150.0, 400.0),
        Layout::Narrow => (54.0, width - room.max(112.0), 330.0),
    };
    let bottom = height - Grid::FOOT;
    let storms = || lines.iter().flat_map(|line| &line.storms);
    let mut numbers: Vec<f64> = storms().map(|(at_once, _)| *at_once).collect();
    numbers.sort_by(f64::total_cmp);
    numbers.dedup();
    let times: Vec<f64> =
        storms().flat_map(|(_, cell)| [cell.median, cell.low, cell.high]).collect();
    let across = Axis::logarithmic(&numbers, left, right);
    let up = Axis::logarithmic(&times, bottom, TOP);
    let grid = Grid {
        across: &across,
        counts: &numbers,
        name: "sandboxes asked for at once",
        up: &up,
        unit: Unit::Nanoseconds,
        lines: 8,
    };
    let description = "Time until the last of k sandboxes is up, over k";
    svg(width, height, description, |canvas| {
        grid.draw(canvas, bottom)?;
        for line in lines {
            draw_line(canvas, line, &across, &up)?;
        }
        let end = |line: &Line<'_, '_>| {
            let (at_once, cell) = line.storms.last()?;
            Some((across.at(*at_once) + line.aside, up.at(cell.median)))
        };
        let ends =
            lines.iter().filter_map(|line| Some(End { wall: line.wall, at: end(line)? }));
        names::draw(canvas, ends.collect(), right, bottom)
    })
}

fn draw_line(canvas: &Canvas<'_>, line: &Line<'_, '_>, across: &Axis, up: &Axis) -> Drawn {
    let ink = Ink::Series(line.wall.series);
    let place = |at_once: f64, time: f64| (across.at(at_once) + line.aside, up.at(time));
    let points: Vec<(f64, f64)> =
        line.storms.iter().map(|(at_once, cell)| place(*at_once, cell.median)).collect();
    for pair in points.windows(2) {
        stroke(canvas, line.wall, pair[0], pair[1])?;
    }
    for ((at_once, cell), point) in line.storms.iter().zip(points) {
        if cell.low.is_finite() && cell.high.is_finite() && cell.low > 0.0 {
            let (low, high) = (place(*at_once, cell.low), place(*at_once, cell.high));
            canvas.line(low, high, ink, 2.0)?;
        }
        canvas.dot(point, 3.6, ink, 1.0)?;
    }
    Ok(())
}
