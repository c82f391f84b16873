//! The distribution of one runtime's starts on a scale of its own: which part
//! of the starts was over after how long.

use super::axis::{Axis, tick_label};
use super::canvas::{Anchor, Canvas, DrawError, Drawn, Ink, Type, svg};
use super::or_note;
use crate::clocks::FIRST_OUTPUT;
use crate::units::{Unit, count, float};
use crate::view::{View, Wall, median};

const WIDTH: f64 = 380.0;
const HEIGHT: f64 = 210.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = WIDTH - 14.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = HEIGHT - 28.0;

/// Fewer starts than this make no distribution.
const FEWEST: usize = 3;

/// One panel for each runtime with enough starts.
pub fn panels(view: &View<'_>) -> Vec<String> {
    view.walls
        .iter()
        .filter_map(|wall| {
            let mut starts: Vec<f64> = view
                .counted_starts(wall.name)
                .iter()
                .filter_map(|sample| sample.clocks_ns.get(FIRST_OUTPUT))
                .map(|at| float(*at))
                .collect();
            starts.sort_by(f64::total_cmp);
            (starts.len() >= FEWEST).then(|| or_note(panel(view, wall, &starts)))
        })
        .collect()
}

fn panel(view: &View<'_>, wall: &Wall<'_>, sorted: &[f64]) -> Result<String, DrawError> {
    let across = Axis::fitting(sorted, LEFT, RIGHT);
    let up = |part: f64| BOTTOM - part * (BOTTOM - TOP);
    let cell = view.start(wall.name);
    let shown = cell.map(|cell| median(cell).to_string()).unwrap_or_default();
    let description = format!("Distribution of {} starts of {}", sorted.len(), wall.label);
    svg(WIDTH, HEIGHT, &description, |canvas| {
        canvas.text(&wall.label, (0.0, 12.0), Anchor::Start, Type::strong(Ink::Text))?;
        let note = format!("{shown} · n = {}", sorted.len());
        canvas.text(&note, (RIGHT, 12.0), Anchor::End, Type::label(Ink::Muted))?;
        for part in [0.0, 0.5, 1.0] {
            canvas.line((LEFT, up(part)), (RIGHT, up(part)), Ink::Grid, 1.0)?;
            let label = format!("{:.0} %", part * 100.0);
            let at = (LEFT - 6.0, up(part));
            canvas.text(&label, at, Anchor::End, Type::label(Ink::Muted))?;
        }
        for tick in across.ticks(Unit::Nanoseconds, 5) {
            let label = tick_label(Unit::Nanoseconds, tick);
            let x = across.at(tick);
            canvas.line((x, BOTTOM), (x, BOTTOM + 4.0), Ink::Muted, 1.0)?;
            canvas.text(&label, (x, BOTTOM + 15.0), Anchor::Middle, Type::label(Ink::Muted))?;
        }
        if let Some(cell) = cell.filter(|c| c.low.is_finite() && c.high.is_finite()) {
            let (low, high) = (across.at(cell.low), across.at(cell.high));
            canvas.rectangle((low, TOP), (high, BOTTOM), Ink::Series(wall.series), 0.2)?;
        }
        steps(canvas, sorted, &across, up, Ink::Series(wall.series))
    })
}

fn steps(
    canvas: &Canvas<'_>,
    sorted: &[f64],
    across: &Axis,
    up: impl Fn(f64) -> f64,
    ink: Ink,
) -> Drawn {
    let mut points = vec![(LEFT, up(0.0))];
    for (index, start) in sorted.iter().enumerate() {
        let x = across.at(*start);
        points.push((x, up(count(index) / count(sorted.len()))));
        points.push((x, up(count(index + 1) / count(sorted.len()))));
    }
    points.push((RIGHT, up(1.0)));
    canvas.path(&points, ink, 2.0)
}
