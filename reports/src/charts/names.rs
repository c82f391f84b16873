//! Names at the ends of lines, moved apart where they would cover each other.

use super::canvas::{Anchor, Canvas, Drawn, Ink, Type};
use super::spread;
use crate::units::count;
use crate::view::{View, Wall};

/// Height of a name, and the least distance between two.
const LINE: f64 = 15.0;

/// Average width of a letter, pixels.
const LETTER: f64 = 6.6;

/// Between the right edge of the axes and a name beside it: its dot.
const MARGIN: f64 = 18.0;

/// Most room for names: results from elsewhere may have names of any length.
const MOST: f64 = 150.0;

/// Room a name takes to the right of its dot.
const LENGTH: f64 = 104.0;

/// The end of one runtime's line.
pub struct End<'v, 'a> {
    /// The runtime.
    pub wall: &'v Wall<'a>,
    /// Where its line ends.
    pub at: (f64, f64),
}

/// Writes the names: those of lines that end near the chart's right edge share the
/// margin beside it, one that ends earlier has its name where it ends.
pub fn draw(canvas: &Canvas<'_>, ends: Vec<End<'_, '_>>, right: f64, bottom: f64) -> Drawn {
    let (mut margin, mut early): (Vec<_>, Vec<_>) =
        ends.into_iter().partition(|end| end.at.0 > right - 60.0);
    margin.sort_by(|a, b| a.at.1.total_cmp(&b.at.1));
    let mut places: Vec<f64> = margin.iter().map(|end| end.at.1).collect();
    spread(&mut places, LINE, bottom);
    for (y, end) in places.into_iter().zip(&margin) {
        name(canvas, end.wall, (right + 10.0, y))?;
    }
    early.sort_by(|a, b| a.at.1.total_cmp(&b.at.1));
    let places = apart(early.iter().map(|end| end.at), bottom);
    for (place, end) in places.into_iter().zip(&early) {
        name(canvas, end.wall, place)?;
    }
    Ok(())
}

/// Places beside the points, each below those above it that it would cover, and
/// none below `bottom`; the points come from top to bottom.
fn apart(points: impl Iterator<Item = (f64, f64)>, bottom: f64) -> Vec<(f64, f64)> {
    let covers = |one: f64, other: f64| (one - other).abs() < LENGTH;
    let mut placed: Vec<(f64, f64)> = Vec::new();
    for (x, y) in points.map(|(x, y)| (x + 12.0, y)) {
        let above =
            placed.iter().filter(|other| covers(other.0, x)).map(|other| other.1 + LINE);
        let y = above.fold(y, f64::max);
        placed.push((x, y));
    }
    for index in (0..placed.len()).rev() {
        let (x, y) = placed[index];
        let below = placed[index + 1..].iter().filter(|other| covers(other.0, x));
        placed[index].1 = below.map(|other| other.1 - LINE).fold(y.min(bottom), f64::min);
    }
    placed
}

/// What the longest name takes beside the end of its line, pixels.
pub fn room(view: &View<'_>) -> f64 {
    let longest = view.walls.iter().map(|wall| wall.label.chars().count()).max();
    (MARGIN + LETTER * count(longest.unwrap_or(0))).min(MOST)
}

fn name(canvas: &Canvas<'_>, wall: &Wall<'_>, (x, y): (f64, f64)) -> Drawn {
    // A line that runs through a name makes neither easier to read.
    let end = x + 10.0 + LETTER * count(wall.label.chars().count());
    canvas.rectangle((x - 5.0, y - 7.0), (end, y + 7.0), Ink::Page, 0.8)?;
    canvas.dot((x, y), 4.0, Ink::Series(wall.series), 1.0)?;
    canvas.text(&wall.label, (x + 8.0, y), Anchor::Start, Type::label(Ink::Text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_at_one_place_come_below_each_other() {
        let points = [(100.0, 50.0), (110.0, 51.0), (400.0, 52.0)];
        let placed = apart(points.into_iter(), 300.0);
        assert_eq!(placed, [(112.0, 50.0), (122.0, 65.0), (412.0, 52.0)]);
        let placed = apart(points.into_iter(), 60.0);
        assert_eq!(placed, [(112.0, 45.0), (122.0, 60.0), (412.0, 52.0)]);
    }
}
