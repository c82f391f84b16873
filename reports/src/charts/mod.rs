//! The charts of a report, as SVG that takes its colours from the page.
//!
//! A chart that is shrunk to a telephone has text nobody can read, so the wide
//! ones are drawn twice and the style sheet shows the one that fits.

pub mod axis;
pub mod canvas;
pub mod ecdf;
pub mod memory;
pub mod phases;
pub mod ratios;
pub mod strip;

use canvas::DrawError;

/// What a chart has to fit in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A laptop's screen, or paper.
    Wide,
    /// A telephone.
    Narrow,
}

impl Layout {
    /// Width of the chart, pixels.
    fn width(self) -> f64 {
        match self {
            Self::Wide => 1032.0,
            Self::Narrow => 380.0,
        }
    }
}

/// One chart, drawn for both layouts.
#[derive(Debug, Clone)]
pub struct Figure {
    /// `<svg>` for wide pages.
    pub wide: String,
    /// `<svg>` for narrow ones.
    pub narrow: String,
}

impl Figure {
    fn draw(chart: impl Fn(Layout) -> Result<String, DrawError>) -> Self {
        Self { wide: or_note(chart(Layout::Wide)), narrow: or_note(chart(Layout::Narrow)) }
    }
}

/// The chart, or a note in its place: a report without one chart is still a report.
fn or_note(chart: Result<String, DrawError>) -> String {
    chart.unwrap_or_else(|error| {
        let error = crate::html::escape(&error.to_string());
        format!("<p class=\"note\">This chart is missing: {error}.</p>")
    })
}

/// Moves positions apart until neighbours are `gap` from each other, staying in
/// order and not going below `bottom`.
fn spread(positions: &mut [f64], gap: f64, bottom: f64) {
    for i in 1..positions.len() {
        positions[i] = positions[i].max(positions[i - 1] + gap);
    }
    let Some(last) = positions.last_mut() else { return };
    *last = last.min(bottom);
    for i in (1..positions.len()).rev() {
        positions[i - 1] = positions[i - 1].min(positions[i] - gap);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_spread_and_stay_inside() {
        let mut positions = [98.0, 99.0, 99.5];
        spread(&mut positions, 10.0, 100.0);
        assert_eq!(positions, [80.0, 90.0, 100.0]);
        let mut positions = [0.0, 50.0];
        spread(&mut positions, 10.0, 100.0);
        assert_eq!(positions, [0.0, 50.0]);
        spread(&mut [], 10.0, 100.0);
    }
}
