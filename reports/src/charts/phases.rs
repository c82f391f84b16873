//! Where the time of a start goes: the phases of each runtime's median start,
//! every bar drawn to full width, so that a container's phases can be read
//! beside those of a microVM.

use super::canvas::{Anchor, Canvas, DrawError, Drawn, Ink, Type, svg};
use super::{Figure, Layout};
use crate::clocks::{CLOCKS, FIRST_OUTPUT, Phase, phases};
use crate::units::{Unit, count, float};
use crate::view::{View, Wall};

/// Average width of a letter in a label, pixels.
const LETTER: f64 = 6.6;

struct Bar<'v, 'a> {
    wall: &'v Wall<'a>,
    phases: Vec<Phase<'a>>,
    start_ns: u64,
    life_ns: u64,
}

/// The chart, where any start was measured.
pub fn figure(view: &View<'_>) -> Option<Figure> {
    let bars: Vec<Bar<'_, '_>> = view.walls.iter().filter_map(|wall| bar(view, wall)).collect();
    (!bars.is_empty()).then(|| Figure::draw(|layout| chart(&bars, layout)))
}

/// The phases that occur, for the legend: position of the colour and name.
pub fn legend(view: &View<'_>) -> Vec<(usize, &'static str, &'static str)> {
    let mut seen = [false; CLOCKS.len()];
    for wall in &view.walls {
        for phase in bar(view, wall).into_iter().flat_map(|bar| bar.phases) {
            if let Some(seen) = seen.get_mut(phase.order) {
                *seen = true;
            }
        }
    }
    let clocks = CLOCKS.iter().enumerate().zip(seen).filter(|(_, seen)| *seen);
    clocks.map(|((order, clock), _)| (order, clock.phase, clock.meaning)).collect()
}

fn bar<'v, 'a>(view: &View<'a>, wall: &'v Wall<'a>) -> Option<Bar<'v, 'a>> {
    let sample = view.median_start(wall.name)?;
    let phases = phases(&sample.clocks_ns);
    let life_ns = phases.iter().fold(0_u64, |sum, p| sum.saturating_add(p.nanoseconds));
    let start_ns = sample.clocks_ns.get(FIRST_OUTPUT).copied()?;
    (life_ns > 0).then_some(Bar { wall, phases, start_ns, life_ns })
}

fn chart(bars: &[Bar<'_, '_>], layout: Layout) -> Result<String, DrawError> {
    let width = layout.width();
    let (left, right, pitch) = match layout {
        Layout::Wide => (130.0, width - 140.0, 62.0),
        Layout::Narrow => (4.0, width - 4.0, 72.0),
    };
    let description = "Phases of the median start of each runtime, each bar at full width";
    svg(width, pitch * count(bars.len()), description, |canvas| {
        for (index, bar) in bars.iter().enumerate() {
            let top = count(index) * pitch;
            let name = Type::strong(Ink::Text);
            let muted = Type::label(Ink::Muted);
            let start = Unit::Nanoseconds.show(float(bar.start_ns));
            let life = format!("released {}", Unit::Nanoseconds.show(float(bar.life_ns)));
            let bar_top = if layout == Layout::Wide {
                let middle = top + pitch / 2.0;
                canvas.text(&bar.wall.label, (0.0, middle), Anchor::Start, name)?;
                canvas.text(&start, (width, middle - 8.0), Anchor::End, name)?;
                canvas.text(&life, (width, middle + 9.0), Anchor::End, muted)?;
                top + 11.0
            } else {
                canvas.text(&bar.wall.label, (left, top + 14.0), Anchor::Start, name)?;
                let both = format!("{start} · {life}");
                canvas.text(&both, (right, top + 14.0), Anchor::End, muted)?;
                top + 26.0
            };
            segments(canvas, bar, (left, right), (bar_top, bar_top + 40.0))?;
        }
        Ok(())
    })
}

fn segments(
    canvas: &Canvas<'_>,
    bar: &Bar<'_, '_>,
    (left, right): (f64, f64),
    (top, bottom): (f64, f64),
) -> Drawn {
    let place = |ns: u64| left + float(ns) / float(bar.life_ns) * (right - left);
    let mut from_ns = 0_u64;
    for phase in &bar.phases {
        let to_ns = from_ns.saturating_add(phase.nanoseconds);
        let (from, to) = (place(from_ns), place(to_ns));
        canvas.rectangle((from, top), (to, bottom), Ink::Phase(phase.order), 1.0)?;
        let middle = f64::midpoint(from, to);
        let on = Type { size: 11.5, ink: Ink::OnPhase(phase.order), bold: false };
        let room = (to - from - 8.0) / LETTER;
        let time = Unit::Nanoseconds.show(float(phase.nanoseconds));
        let fits = |text: &str| count(text.chars().count()) <= room;
        if fits(phase.title()) && fits(&time) {
            let center = f64::midpoint(top, bottom);
            canvas.text(phase.title(), (middle, center - 8.0), Anchor::Middle, on)?;
            canvas.text(&time, (middle, center + 8.0), Anchor::Middle, on)?;
        }
        from_ns = to_ns;
    }
    // A gap of the page's colour between neighbours, for those who do not see
    // the colours.
    let mut edge_ns = 0_u64;
    for phase in &bar.phases {
        edge_ns = edge_ns.saturating_add(phase.nanoseconds);
        canvas.line((place(edge_ns), top), (place(edge_ns), bottom), Ink::Page, 1.0)?;
    }
    let output = place(bar.start_ns);
    canvas.line((output, top - 5.0), (output, bottom + 5.0), Ink::Text, 2.0)
}
