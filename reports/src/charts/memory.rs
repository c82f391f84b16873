//! Host memory over the number of idle sandboxes: the samples as dots, the
//! fitted line through them.

use super::axis::{Axis, Grid};
use super::canvas::{Anchor, Canvas, DrawError, Drawn, Ink, Type, svg};
use super::names::{self, End};
use super::{Figure, Layout, stroke};
use crate::schema::DensitySample;
use crate::units::{Unit, float, signed_float};
use crate::view::{View, Wall};

/// A panel's size and where its axes are.
#[derive(Debug, Clone, Copy)]
struct Frame {
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    bottom: f64,
}

/// Where the upward axis ends.
const TOP: f64 = 32.0;

impl Frame {
    /// Two stand beside each other on a wide page.
    fn of(layout: Layout, view: &View<'_>) -> Self {
        let (width, height, names) = match layout {
            Layout::Wide => (500.0, 330.0, 114.0_f64),
            Layout::Narrow => (layout.width(), 290.0, 108.0),
        };
        let names = names.max(names::room(view));
        Self { width, height, left: 62.0, right: width - names, bottom: height - Grid::FOOT }
    }
}

/// One of the two ways memory is measured.
#[derive(Debug, Clone, Copy)]
struct Way {
    title: &'static str,
    metric: &'static str,
    value: fn(&DensitySample) -> f64,
}

const WAYS: [Way; 2] = [
    Way {
        title: "Host memory used (fall of MemAvailable)",
        metric: "used_bytes",
        value: |sample| signed_float(sample.used_bytes),
    },
    Way {
        title: "PSS of the sandboxes' processes",
        metric: "pss_bytes",
        value: |sample| sample.pss_bytes.values().map(|bytes| float(*bytes)).sum(),
    },
];

/// A panel for each way that has samples.
pub fn panels(view: &View<'_>) -> Vec<Figure> {
    if view.results.density.is_empty() {
        return Vec::new();
    }
    WAYS.iter()
        .map(|way| Figure::draw(|layout| panel(view, *way, Frame::of(layout, view))))
        .collect()
}

fn panel(view: &View<'_>, way: Way, frame: Frame) -> Result<String, DrawError> {
    let samples = &view.results.density;
    let counts: Vec<f64> = samples.iter().map(|s| f64::from(s.count)).collect();
    let lines: Vec<Line<'_, '_>> =
        view.walls.iter().filter_map(|wall| line(view, wall, way)).collect();
    let ends = lines.iter().flat_map(|line| [line.from.1, line.to.1]);
    let sizes: Vec<f64> = samples.iter().map(way.value).chain(ends).collect();
    let across = Axis::from_zero(&counts, frame.left, frame.right);
    let up = Axis::from_zero(&sizes, frame.bottom, TOP);
    let whole = across.ticks(Unit::Count, 7).into_iter().filter(|tick| tick.fract() == 0.0);
    let grid = Grid {
        across: &across,
        counts: &whole.collect::<Vec<_>>(),
        name: "idle sandboxes",
        up: &up,
        unit: Unit::Bytes,
        lines: 7,
    };
    let description = format!("{} over the number of idle sandboxes", way.title);
    svg(frame.width, frame.height, &description, |canvas| {
        canvas.text(way.title, (0.0, 12.0), Anchor::Start, Type::strong(Ink::Text))?;
        grid.draw(canvas, frame.bottom)?;
        for sample in samples {
            let Some(wall) = view.walls.iter().find(|w| w.name == sample.runtime) else {
                continue;
            };
            let at = (across.at(f64::from(sample.count)), up.at((way.value)(sample)));
            canvas.dot(at, 3.0, Ink::Series(wall.series), 0.6)?;
        }
        draw_lines(canvas, &lines, (&across, &up), frame)
    })
}

/// A fit where it was measured: it says nothing about more sandboxes than that.
struct Line<'v, 'a> {
    wall: &'v Wall<'a>,
    /// Number of sandboxes and bytes.
    from: (f64, f64),
    to: (f64, f64),
}

fn line<'v, 'a>(view: &View<'a>, wall: &'v Wall<'a>, way: Way) -> Option<Line<'v, 'a>> {
    let fit = view.fit(wall.name, way.metric)?;
    let counts =
        || view.results.density.iter().filter(|s| s.runtime == wall.name).map(|s| s.count);
    let at = |count: u32| {
        let count = f64::from(count);
        (count, fit.intercept + fit.slope * count)
    };
    Some(Line { wall, from: at(counts().min()?), to: at(counts().max()?) })
}

/// The lines, each named at its end.
fn draw_lines(
    canvas: &Canvas<'_>,
    lines: &[Line<'_, '_>],
    (across, up): (&Axis, &Axis),
    frame: Frame,
) -> Drawn {
    let at = |(count, bytes): (f64, f64)| (across.at(count), up.at(bytes));
    for line in lines {
        stroke(canvas, line.wall, at(line.from), at(line.to))?;
    }
    let ends = lines.iter().map(|line| End { wall: line.wall, at: at(line.to) });
    names::draw(canvas, ends.collect(), frame.right, frame.bottom)
}
