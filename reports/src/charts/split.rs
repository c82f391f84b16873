//! Memory of one sandbox by whose it is: its own, and its share of what several
//! map. Where a kernel or a template's memory is shared, the share gets smaller with
//! every further sandbox and the private part does not.

use super::canvas::{Anchor, Canvas, DrawError, Drawn, Ink, Type, svg};
use super::{Figure, Layout};
use crate::split::{Split, splits};
use crate::units::{Unit, count};
use crate::view::View;

/// Height of a row.
const PITCH: f64 = 34.0;

/// Beside the longest bar for its figures.
const ROOM: f64 = 310.0;

/// How strong the colour of the shared part is.
const SHARED: f64 = 0.35;

/// The chart, where private memory was told from shared.
pub fn figure(view: &View<'_>) -> Option<Figure> {
    let splits = splits(view);
    (!splits.is_empty()).then(|| Figure::draw(|layout| chart(&splits, layout)))
}

fn chart(splits: &[Split<'_, '_>], layout: Layout) -> Result<String, DrawError> {
    let width = layout.width();
    let (left, right, pitch) = match layout {
        Layout::Wide => (150.0, width - ROOM, PITCH),
        Layout::Narrow => (4.0, width - 4.0, PITCH + 18.0),
    };
    let largest = splits.iter().map(|split| split.private + split.shared).fold(1.0, f64::max);
    let scale = (right - left) / largest;
    let description = "Memory of one sandbox: private, and its share of shared memory";
    svg(width, pitch * count(splits.len()), description, |canvas| {
        for (index, split) in splits.iter().enumerate() {
            let top = count(index) * pitch;
            draw_row(canvas, split, (left, scale), (top, pitch), layout)?;
        }
        Ok(())
    })
}

fn draw_row(
    canvas: &Canvas<'_>,
    split: &Split<'_, '_>,
    (left, scale): (f64, f64),
    (top, pitch): (f64, f64),
    layout: Layout,
) -> Drawn {
    let ink = Ink::Series(split.wall.series);
    let (own, end) =
        (left + scale * split.private, left + scale * (split.private + split.shared));
    let name = Type::strong(Ink::Text);
    let said = format!(
        "{} private + {} shared, {} alive",
        Unit::Bytes.show(split.private),
        Unit::Bytes.show(split.shared),
        split.alive
    );
    let muted = Type::label(Ink::Muted);
    let middle = if layout == Layout::Wide {
        let middle = top + pitch / 2.0;
        canvas.text(&split.wall.label, (0.0, middle), Anchor::Start, name)?;
        canvas.text(&said, (end + 8.0, middle), Anchor::Start, muted)?;
        middle
    } else {
        canvas.text(&split.wall.label, (4.0, top + 12.0), Anchor::Start, name)?;
        let right = layout.width() - 4.0;
        canvas.text(&said, (right, top + 12.0), Anchor::End, muted)?;
        top + 33.0
    };
    canvas.rectangle((left, middle - 9.0), (own, middle + 9.0), ink, 1.0)?;
    canvas.rectangle((own, middle - 9.0), (end, middle + 9.0), ink, SHARED)
}
