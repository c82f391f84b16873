//! Host memory over the number of idle sandboxes: the samples as dots, the
//! fitted line through them.

use super::axis::{Axis, tick_label};
use super::canvas::{Anchor, Canvas, DrawError, Drawn, Ink, Type, svg};
use super::{or_note, spread};
use crate::schema::DensitySample;
use crate::units::{Unit, float, signed_float};
use crate::view::{View, Wall};

const WIDTH: f64 = 500.0;
const HEIGHT: f64 = 330.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = WIDTH - 114.0;
const TOP: f64 = 32.0;
const BOTTOM: f64 = HEIGHT - 44.0;

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
pub fn panels(view: &View<'_>) -> Vec<String> {
    if view.results.density.is_empty() {
        return Vec::new();
    }
    WAYS.iter().map(|way| or_note(panel(view, *way))).collect()
}

fn panel(view: &View<'_>, way: Way) -> Result<String, DrawError> {
    let samples = &view.results.density;
    let counts: Vec<f64> = samples.iter().map(|s| f64::from(s.count)).collect();
    let sizes: Vec<f64> = samples.iter().map(way.value).collect();
    let across = Axis::from_zero(&counts, LEFT, RIGHT);
    let up = Axis::from_zero(&sizes, BOTTOM, TOP);
    let most = counts.iter().copied().fold(0.0, f64::max);
    let description = format!("{} over the number of idle sandboxes", way.title);
    svg(WIDTH, HEIGHT, &description, |canvas| {
        canvas.text(way.title, (0.0, 12.0), Anchor::Start, Type::strong(Ink::Text))?;
        axes(canvas, &across, &up)?;
        for sample in samples {
            let Some(wall) = view.walls.iter().find(|w| w.name == sample.runtime) else {
                continue;
            };
            let at = (across.at(f64::from(sample.count)), up.at((way.value)(sample)));
            canvas.dot(at, 3.0, Ink::Series(wall.series), 0.6)?;
        }
        lines(canvas, view, way, (&across, &up), most)
    })
}

fn axes(canvas: &Canvas<'_>, across: &Axis, up: &Axis) -> Drawn {
    let muted = Type::label(Ink::Muted);
    for tick in up.ticks(Unit::Bytes, 7) {
        let y = up.at(tick);
        canvas.line((LEFT, y), (RIGHT, y), Ink::Grid, 1.0)?;
        canvas.text(&tick_label(Unit::Bytes, tick), (LEFT - 7.0, y), Anchor::End, muted)?;
    }
    for tick in across.ticks(Unit::Count, 7).into_iter().filter(|tick| tick.fract() == 0.0) {
        let x = across.at(tick);
        canvas.line((x, BOTTOM), (x, BOTTOM + 4.0), Ink::Muted, 1.0)?;
        let at = (x, BOTTOM + 15.0);
        canvas.text(&tick_label(Unit::Count, tick), at, Anchor::Middle, muted)?;
    }
    let at = (f64::midpoint(LEFT, RIGHT), BOTTOM + 34.0);
    canvas.text("idle sandboxes", at, Anchor::Middle, muted)
}

/// The fitted lines, each named at its end.
fn lines(
    canvas: &Canvas<'_>,
    view: &View<'_>,
    way: Way,
    (across, up): (&Axis, &Axis),
    most: f64,
) -> Drawn {
    let mut ends: Vec<(f64, &Wall<'_>)> = Vec::new();
    for wall in &view.walls {
        let Some(fit) = view.fit(wall.name, way.metric) else { continue };
        let at = |n: f64| up.at(fit.intercept + fit.slope * n);
        let ink = Ink::Series(wall.series);
        canvas.line((across.at(0.0), at(0.0)), (across.at(most), at(most)), ink, 2.0)?;
        ends.push((at(most), wall));
    }
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut places: Vec<f64> = ends.iter().map(|(y, _)| *y).collect();
    spread(&mut places, 15.0, BOTTOM);
    for (place, (_, wall)) in places.into_iter().zip(ends) {
        canvas.dot((RIGHT + 10.0, place), 4.0, Ink::Series(wall.series), 1.0)?;
        let at = (RIGHT + 18.0, place);
        canvas.text(&wall.label, at, Anchor::Start, Type::label(Ink::Text))?;
    }
    Ok(())
}
