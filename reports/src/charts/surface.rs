//! How many different system calls each sandbox's own processes make on the
//! host's kernel: the width of the door.

use super::canvas::{Anchor, DrawError, Ink, Type, svg};
use super::{Figure, Layout};
use crate::schema::Surface;
use crate::units::{count, many, whole};
use crate::view::{View, printable};

const PITCH: f64 = 34.0;

/// Room beside the longest bar for what is written there.
const ROOM: f64 = 190.0;

struct Bar {
    series: usize,
    label: String,
    distinct: usize,
    calls: u64,
}

/// The chart, where any surface was measured.
pub fn figure(view: &View<'_>) -> Option<Figure> {
    let bars: Vec<Bar> =
        view.surfaces().into_iter().map(|surface| bar(view, surface)).collect();
    (!bars.is_empty()).then(|| Figure::draw(|layout| chart(&bars, layout)))
}

fn bar(view: &View<'_>, surface: &Surface) -> Bar {
    let wall = view.walls.iter().find(|wall| wall.name == surface.runtime);
    let calls = surface.system_calls.values().fold(0_u64, |sum, n| sum.saturating_add(*n));
    // Which workload it was is said only where there is more than one.
    let only = view.results.surfaces.iter().all(|s| s.workload == surface.workload);
    let of = if only { String::new() } else { format!(", {}", printable(&surface.workload)) };
    Bar {
        series: wall.map_or(0, |wall| wall.series),
        label: view.label(&surface.runtime) + &of,
        distinct: surface.system_calls.len(),
        calls,
    }
}

fn chart(bars: &[Bar], layout: Layout) -> Result<String, DrawError> {
    let width = layout.width();
    let (left, pitch) = match layout {
        Layout::Wide => (220.0, PITCH),
        Layout::Narrow => (0.0, PITCH + 16.0),
    };
    let longest = bars.iter().map(|bar| bar.distinct).max().unwrap_or(0).max(1);
    let scale = (width - left - ROOM) / count(longest);
    let description = "Distinct system calls of each sandbox's processes on the host's kernel";
    svg(width, pitch * count(bars.len()), description, |canvas| {
        for (index, bar) in bars.iter().enumerate() {
            let top = count(index) * pitch;
            let name = Type::strong(Ink::Text);
            let middle = match layout {
                Layout::Wide => {
                    canvas.text(&bar.label, (0.0, top + pitch / 2.0), Anchor::Start, name)?;
                    top + pitch / 2.0
                }
                Layout::Narrow => {
                    canvas.text(&bar.label, (0.0, top + 10.0), Anchor::Start, name)?;
                    top + 31.0
                }
            };
            let end = left + scale * count(bar.distinct);
            let (from, to) = ((left, middle - 9.0), (end, middle + 9.0));
            canvas.rectangle(from, to, Ink::Series(bar.series), 1.0)?;
            let said = format!("{} distinct", many(bar.distinct));
            canvas.text(&said, (end + 8.0, middle), Anchor::Start, name)?;
            let calls = format!("{} calls", whole(bar.calls));
            let at = (end + 92.0, middle);
            canvas.text(&calls, at, Anchor::Start, Type::label(Ink::Muted))?;
        }
        Ok(())
    })
}
