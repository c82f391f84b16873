//! Every start as a dot, one row for each runtime, on one axis.

use super::axis::{Axis, Scale, tick_label};
use super::canvas::{Anchor, Canvas, DrawError, Drawn, Ink, Type, svg};
use super::{Figure, Layout};
use crate::clocks::FIRST_OUTPUT;
use crate::units::{Unit, count, float};
use crate::view::{View, Wall, median};

const FOOT: f64 = 30.0;

/// What one row shows.
struct Row<'v, 'a> {
    wall: &'v Wall<'a>,
    starts: Vec<f64>,
    /// Median and interval in nanoseconds.
    middle: Option<(f64, f64, f64)>,
    /// The same for the reader.
    value: String,
    interval: String,
}

/// The chart, where any start was measured.
pub fn figure(view: &View<'_>) -> Option<Figure> {
    let rows: Vec<Row<'_, '_>> = view.walls.iter().filter_map(|wall| row(view, wall)).collect();
    (!rows.is_empty()).then(|| Figure::draw(|layout| chart(&rows, layout)))
}

fn row<'v, 'a>(view: &View<'a>, wall: &'v Wall<'a>) -> Option<Row<'v, 'a>> {
    let starts: Vec<f64> = view
        .counted_starts(wall.name)
        .iter()
        .filter_map(|sample| sample.clocks_ns.get(FIRST_OUTPUT))
        .map(|at| float(*at))
        .collect();
    if starts.is_empty() {
        return None;
    }
    let cell = view.start(wall.name);
    let shown = cell.map(median);
    Some(Row {
        wall,
        starts,
        middle: cell.filter(|c| c.median > 0.0).map(|c| (c.median, c.low, c.high)),
        value: shown.as_ref().map(|m| m.value.clone()).unwrap_or_default(),
        interval: shown.and_then(|m| m.interval).unwrap_or_default(),
    })
}

fn chart(rows: &[Row<'_, '_>], layout: Layout) -> Result<String, DrawError> {
    let width = layout.width();
    let (left, right, pitch) = match layout {
        Layout::Wide => (130.0, width - 140.0, 62.0),
        Layout::Narrow => (8.0, width - 8.0, 76.0),
    };
    let bottom = pitch * count(rows.len());
    let values: Vec<f64> = rows.iter().flat_map(|row| row.starts.iter().copied()).collect();
    let axis = Axis::fitting(&values, left, right);
    svg(width, bottom + FOOT, &description(rows), |canvas| {
        grid(canvas, &axis, layout, bottom)?;
        for (index, row) in rows.iter().enumerate() {
            draw_row(canvas, row, &axis, layout, (count(index) * pitch, pitch))?;
        }
        Ok(())
    })
}

fn description(rows: &[Row<'_, '_>]) -> String {
    let medians: Vec<String> =
        rows.iter().map(|row| format!("{} {}", row.wall.label, row.value)).collect();
    format!("Every start as a dot; medians: {}", medians.join(", "))
}

fn grid(canvas: &Canvas<'_>, axis: &Axis, layout: Layout, bottom: f64) -> Drawn {
    let most = if layout == Layout::Wide { 9 } else { 5 };
    for tick in axis.ticks(Unit::Nanoseconds, most) {
        let x = axis.at(tick);
        canvas.line((x, 0.0), (x, bottom), Ink::Grid, 1.0)?;
        let label = tick_label(Unit::Nanoseconds, tick);
        canvas.text(&label, (x, bottom + 13.0), Anchor::Middle, Type::label(Ink::Muted))?;
    }
    Ok(())
}

fn draw_row(
    canvas: &Canvas<'_>,
    row: &Row<'_, '_>,
    axis: &Axis,
    layout: Layout,
    (top, pitch): (f64, f64),
) -> Drawn {
    let ink = Ink::Series(row.wall.series);
    let name = Type::strong(Ink::Text);
    let muted = Type::label(Ink::Muted);
    let width = layout.width();
    let (dots_top, dots_bottom) = match layout {
        Layout::Wide => {
            let middle = top + pitch / 2.0;
            canvas.text(&row.wall.label, (0.0, middle), Anchor::Start, name)?;
            canvas.text(&row.value, (width, middle - 8.0), Anchor::End, name)?;
            canvas.text(&row.interval, (width, middle + 9.0), Anchor::End, muted)?;
            (top + 14.0, top + pitch - 14.0)
        }
        Layout::Narrow => {
            canvas.text(&row.wall.label, (4.0, top + 16.0), Anchor::Start, name)?;
            let value = format!("{} {}", row.value, row.interval);
            canvas.text(&value, (width - 4.0, top + 16.0), Anchor::End, muted)?;
            (top + 32.0, top + pitch - 10.0)
        }
    };
    if let [only] = row.starts[..] {
        let middle = f64::midpoint(dots_top, dots_bottom);
        return canvas.dot((axis.at(only), middle), 4.0, ink, 1.0);
    }
    for (index, start) in row.starts.iter().enumerate() {
        // Spread the dots up and down by the golden ratio, so that equal times
        // do not hide each other and the same results give the same picture.
        let spread = (count(index) * 0.618_034).fract();
        let y = dots_top + spread * (dots_bottom - dots_top);
        canvas.dot((axis.at(*start), y), 2.6, ink, 0.45)?;
    }
    let Some((median, low, high)) = row.middle else { return Ok(()) };
    let (from, to) = (dots_top - 6.0, dots_bottom + 6.0);
    if low.is_finite() && high.is_finite() && low > 0.0 {
        canvas.rectangle((axis.at(low), from), (axis.at(high), to), ink, 0.25)?;
    }
    canvas.line((axis.at(median), from), (axis.at(median), to), Ink::Text, 2.0)
}

/// Whether the chart's axis is logarithmic, for its caption.
pub fn is_logarithmic(view: &View<'_>) -> bool {
    let values: Vec<f64> = view
        .walls
        .iter()
        .filter_map(|wall| row(view, wall))
        .flat_map(|row| row.starts)
        .collect();
    Axis::fitting(&values, 0.0, 1.0).scale == Scale::Logarithmic
}
