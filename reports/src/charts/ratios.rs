//! What each operation costs compared with the baseline: a dot and its interval
//! for each runtime, on a logarithmic axis with a line at "no difference".

use super::axis::Axis;
use super::canvas::{Anchor, Canvas, DrawError, Drawn, Ink, Type, svg};
use super::{Figure, Layout};
use crate::schema::Ratio;
use crate::units::{self, Unit, count};
use crate::view::{View, Wall, printable};

const HEAD: f64 = 24.0;
const FOOT: f64 = 26.0;

/// Distance between the runtimes of one operation.
const STAGGER: f64 = 11.0;

struct Row<'v, 'a> {
    operation: &'a str,
    ratios: Vec<(&'v Wall<'a>, &'a Ratio)>,
}

impl Row<'_, '_> {
    fn largest(&self) -> f64 {
        self.ratios.iter().map(|(_, ratio)| ratio.ratio).fold(0.0, f64::max)
    }
}

/// The chart, where any operation was compared, dearest operation first.
pub fn figure(view: &View<'_>) -> Option<Figure> {
    let baseline = view.walls.first()?;
    let mut rows: Vec<Row<'_, '_>> = view
        .operations()
        .into_iter()
        .map(|operation| Row { operation, ratios: compared(view, baseline, operation) })
        .filter(|row| !row.ratios.is_empty())
        .collect();
    rows.sort_by(|a, b| b.largest().total_cmp(&a.largest()));
    (!rows.is_empty()).then(|| Figure::draw(|layout| chart(&rows, &baseline.label, layout)))
}

fn compared<'v, 'a>(
    view: &'v View<'a>,
    baseline: &Wall<'a>,
    operation: &str,
) -> Vec<(&'v Wall<'a>, &'a Ratio)> {
    let drawable = |ratio: &&Ratio| {
        ratio.baseline == baseline.name && ratio.ratio.is_finite() && ratio.ratio > 0.0
    };
    view.walls
        .iter()
        .filter(|wall| wall.name != baseline.name)
        .filter_map(|wall| {
            let ratios = view.ratios("syscalls", operation, wall.name);
            ratios.into_iter().find(drawable).map(|ratio| (wall, ratio))
        })
        .collect()
}

fn chart(rows: &[Row<'_, '_>], baseline: &str, layout: Layout) -> Result<String, DrawError> {
    let width = layout.width();
    let most = rows.iter().map(|row| row.ratios.len()).max().unwrap_or(1);
    let (left, right, pitch) = match layout {
        Layout::Wide => (190.0, width - 64.0, STAGGER * count(most) + 14.0),
        Layout::Narrow => (12.0, width - 46.0, STAGGER * count(most) + 30.0),
    };
    let ends = |ratio: &Ratio| [ratio.ratio, ratio.low, ratio.high];
    let values: Vec<f64> = rows
        .iter()
        .flat_map(|row| row.ratios.iter().flat_map(|(_, ratio)| ends(ratio)))
        .chain([1.0])
        .collect();
    let axis = Axis::logarithmic(&values, left, right);
    let bottom = HEAD + pitch * count(rows.len());
    let description = format!("Cost of each operation as a multiple of {baseline}");
    svg(width, bottom + FOOT, &description, |canvas| {
        grid(canvas, &axis, baseline, layout, bottom)?;
        for (index, row) in rows.iter().enumerate() {
            draw_row(canvas, row, &axis, layout, (HEAD + count(index) * pitch, pitch))?;
        }
        Ok(())
    })
}

fn grid(
    canvas: &Canvas<'_>,
    axis: &Axis,
    baseline: &str,
    layout: Layout,
    bottom: f64,
) -> Drawn {
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
    let label = format!("same as {baseline}");
    // The line at 1 is usually near the left edge: write away from it.
    canvas.text(&label, (one, HEAD - 13.0), Anchor::Start, muted)
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
    row: &Row<'_, '_>,
    axis: &Axis,
    layout: Layout,
    (top, pitch): (f64, f64),
) -> Drawn {
    canvas.line((0.0, top), (layout.width(), top), Ink::Grid, 0.6)?;
    let name = printable(row.operation);
    let text = Type::label(Ink::Text);
    let height = STAGGER * count(row.ratios.len().saturating_sub(1));
    let first = match layout {
        Layout::Wide => {
            canvas.text(&name, (0.0, top + pitch / 2.0), Anchor::Start, text)?;
            top + (pitch - height) / 2.0
        }
        Layout::Narrow => {
            // The grid would run through the name.
            let (from, to) = ((0.0, top + 2.0), (layout.width(), top + 22.0));
            canvas.rectangle(from, to, Ink::Page, 1.0)?;
            canvas.text(&name, (0.0, top + 14.0), Anchor::Start, text)?;
            top + 28.0
        }
    };
    for (index, (wall, ratio)) in row.ratios.iter().enumerate() {
        let y = first + STAGGER * count(index);
        let ink = Ink::Series(wall.series);
        if ratio.low.is_finite() && ratio.high.is_finite() && ratio.low > 0.0 {
            canvas.line((axis.at(ratio.low), y), (axis.at(ratio.high), y), ink, 2.0)?;
        }
        let center = (axis.at(ratio.ratio), y);
        if ratio.distinguishable {
            canvas.dot(center, 4.0, ink, 1.0)?;
        } else {
            canvas.dot(center, 4.0, Ink::Page, 1.0)?;
            canvas.ring(center, 3.6, ink, 1.5)?;
        }
        let beside = (axis.at(ratio.ratio.max(ratio.high)) + 9.0, y);
        let small = Type { size: 10.5, ink: Ink::Muted, bold: false };
        canvas.text(&units::times(ratio.ratio), beside, Anchor::Start, small)?;
    }
    Ok(())
}
