//! What KVM counted in each phase of a microVM's start: bars, a column for each
//! counter, each on a scale of its own.

use super::canvas::{Anchor, Canvas, DrawError, Drawn, Ink, Type, svg};
use super::{Figure, Layout};
use crate::kvm::{COUNTERS, Counter, Paid, paid};
use crate::units::{count, float, whole};
use crate::view::View;

/// Height of a bar with the space around it, and of a line of words.
const ROW: f64 = 24.0;

/// Above the bars of a column.
const HEAD: f64 = 40.0;

/// Between two columns.
const GUTTER: f64 = 26.0;

/// Beside the longest bar for its figure.
const FIGURE: f64 = 74.0;

/// Where a column is: its left and right edge, and the top of its head.
#[derive(Debug, Clone, Copy)]
struct Place {
    left: f64,
    right: f64,
    top: f64,
}

/// The chart, where KVM counted by phase.
pub fn figure(view: &View<'_>) -> Option<Figure> {
    let paid = paid(view);
    (!paid.is_empty()).then(|| Figure::draw(|layout| chart(&paid, layout)))
}

fn chart(paid: &[Paid<'_, '_>], layout: Layout) -> Result<String, DrawError> {
    let width = layout.width();
    let rows: usize = paid.iter().map(|paid| paid.phases.len() + 1).sum();
    let column = HEAD + ROW * count(rows);
    let (names, height) = match layout {
        Layout::Wide => (118.0, column),
        Layout::Narrow => (104.0, (column + GUTTER) * count(COUNTERS.len())),
    };
    let description = "Exits, emulated instructions and page faults in each phase of a start";
    svg(width, height, description, |canvas| {
        for (index, counter) in COUNTERS.iter().enumerate() {
            let place = match layout {
                Layout::Wide => {
                    let each = (width - names) / count(COUNTERS.len());
                    let left = names + each * count(index);
                    Place { left, right: left + each - GUTTER, top: 0.0 }
                }
                Layout::Narrow => {
                    let top = (column + GUTTER) * count(index);
                    Place { left: names, right: width - 8.0, top }
                }
            };
            if index == 0 || layout == Layout::Narrow {
                draw_names(canvas, paid, place.top + HEAD)?;
            }
            draw_column(canvas, paid, (index, counter), place, layout)?;
        }
        Ok(())
    })
}

/// The runtimes, and under each its phases with their time.
fn draw_names(canvas: &Canvas<'_>, paid: &[Paid<'_, '_>], top: f64) -> Drawn {
    let mut y = top + ROW / 2.0;
    for paid in paid {
        canvas.text(&paid.wall.label, (0.0, y), Anchor::Start, Type::strong(Ink::Text))?;
        y += ROW;
        for phase in &paid.phases {
            canvas.text(phase.title(), (10.0, y), Anchor::Start, Type::label(Ink::Text))?;
            y += ROW;
        }
    }
    Ok(())
}

fn draw_column(
    canvas: &Canvas<'_>,
    paid: &[Paid<'_, '_>],
    (index, counter): (usize, &Counter),
    place: Place,
    layout: Layout,
) -> Drawn {
    let head = if layout == Layout::Wide { place.left } else { 0.0 };
    let title = Type::strong(Ink::Text);
    canvas.text(counter.title, (head, place.top + 9.0), Anchor::Start, title)?;
    let about = Type { size: 11.0, ..Type::label(Ink::Muted) };
    canvas.text(counter.about, (head, place.top + 25.0), Anchor::Start, about)?;
    let counts = paid.iter().flat_map(|p| &p.phases).map(|phase| phase.counts[index]);
    let scale = (place.right - place.left - FIGURE) / float(counts.max().unwrap_or(0).max(1));
    let mut y = place.top + HEAD + ROW / 2.0;
    for paid in paid {
        y += ROW;
        for phase in &paid.phases {
            let value = phase.counts[index];
            let end = place.left + scale * float(value);
            let (from, to) = ((place.left, y - 8.0), (end, y + 8.0));
            canvas.rectangle(from, to, Ink::Phase(phase.order), 1.0)?;
            let figure = Type::label(Ink::Text);
            canvas.text(&whole(value), (end + 6.0, y), Anchor::Start, figure)?;
            y += ROW;
        }
    }
    Ok(())
}
