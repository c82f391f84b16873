//! The charts of a report, as SVG that takes its colours from the page.
//!
//! A chart that is shrunk to a telephone has text nobody can read, so the wide
//! ones are drawn twice and the style sheet shows the one that fits.

pub mod axis;
pub mod canvas;
pub mod changes;
pub mod ecdf;
pub mod memory;
mod names;
pub mod phases;
pub mod price;
pub mod ratios;
pub mod split;
pub mod storm;
pub mod strip;
pub mod surface;
pub mod ways;

use canvas::{Canvas, DrawError, Drawn, Ink};

use crate::schema::Start;
use crate::view::Wall;

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

/// A piece of a runtime's line. A runtime has the same colour however its sandboxes
/// are started: what is not cold is dashed.
fn stroke(canvas: &Canvas<'_>, wall: &Wall<'_>, from: (f64, f64), to: (f64, f64)) -> Drawn {
    let ink = Ink::Series(wall.series);
    match wall.start() {
        Start::Cold => canvas.line(from, to, ink, 2.0),
        Start::Warm | Start::Pool | Start::App => canvas.dashes(from, to, ink, 2.0),
    }
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
    use crate::sample;
    use crate::view::View;

    fn count(chart: &str, what: &str) -> usize {
        chart.matches(what).count()
    }

    #[test]
    fn every_counted_start_is_a_dot_in_both_layouts() {
        let results = sample::results();
        let counted = results.boot.iter().filter(|sample| !sample.warm_up).count();
        assert!(counted > 0 && counted < results.boot.len());
        let figure = strip::figure(&View::new(&results)).unwrap();
        assert_eq!(count(&figure.wide, "<circle"), counted);
        assert_eq!(count(&figure.narrow, "<circle"), counted);
        assert!(strip::is_logarithmic(&View::new(&results)));
    }

    #[test]
    fn every_density_sample_is_a_dot_and_every_fit_a_line() {
        let results = sample::results();
        let panels = memory::panels(&View::new(&results));
        assert_eq!(panels.len(), 2);
        for panel in panels.iter().flat_map(|panel| [&panel.wide, &panel.narrow]) {
            // One more dot for each label.
            assert_eq!(count(panel, "<circle"), results.density.len() + 3);
            for line in ["var(--s0)", "var(--s1)", "var(--s2)"] {
                assert!(panel.contains(&format!("<polyline fill=\"none\" stroke=\"{line}\"")));
            }
        }
    }

    #[test]
    fn a_fit_is_drawn_only_where_it_was_measured() {
        let mut results = sample::results();
        results.density.retain(|sample| sample.runtime != "microvm" || sample.count <= 2);
        let panel = memory::panels(&View::new(&results)).remove(0).wide;
        let end_of = |ink: &str| {
            let start = format!("stroke=\"{ink}\" stroke-width=\"16\" points=\"");
            let (_, rest) = panel.split_once(&start).expect("a line");
            let (points, _) = rest.split_once('"').expect("an attribute");
            let (x, _) =
                points.split_whitespace().last().expect("a point").split_once(',').unwrap();
            x.parse::<f64>().unwrap()
        };
        assert!(end_of("var(--s2)") * 2.0 < end_of("var(--s1)"));
    }

    #[test]
    fn what_is_not_distinguishable_is_hollow() {
        let mut results = sample::results();
        let hollow = |results: &_| {
            let figure = ratios::figure(&View::new(results), "syscalls").unwrap();
            count(&figure.wide, "fill=\"none\" stroke=\"var(--s1)\" stroke-width=\"12\"")
        };
        assert_eq!(hollow(&results), 1);
        for ratio in &mut results.ratios {
            ratio.distinguishable = true;
        }
        assert_eq!(hollow(&results), 0);
    }

    #[test]
    fn the_dearest_operation_comes_first() {
        let results = sample::results();
        let chart = ratios::figure(&View::new(&results), "syscalls").unwrap().wide;
        assert!(chart.find("getppid").unwrap() < chart.find("cpu_hash").unwrap());
    }

    #[test]
    fn a_runtime_compared_with_itself_is_a_dot() {
        let results = sample::rich();
        assert!(ratios::noise(&View::new(&sample::results())).is_none());
        let chart = ratios::noise(&View::new(&results)).unwrap().wide;
        // Hollow dots are two circles.
        assert_eq!(count(&chart, "<circle"), 2 * results.noise.len());
    }

    #[test]
    fn every_surface_is_a_bar_as_long_as_its_distinct_calls() {
        let results = sample::rich();
        assert!(surface::figure(&View::new(&sample::results())).is_none());
        let chart = surface::figure(&View::new(&results)).unwrap().wide;
        assert_eq!(count(&chart, "<rect"), results.surfaces.len());
        assert!(chart.contains("62 distinct") && chart.contains("24 distinct"), "{chart}");
    }

    #[test]
    fn every_phase_of_the_median_starts_is_a_segment() {
        let results = sample::results();
        let view = View::new(&results);
        let phases: usize = view
            .walls
            .iter()
            .map(|w| view.median_start(w.name).unwrap().clocks_ns.len() - 1)
            .sum();
        let chart = phases::figure(&view).unwrap().wide;
        assert_eq!(count(&chart, "<rect"), phases);
        assert!(chart.contains("guest kernel"));
    }

    #[test]
    fn every_count_of_every_phase_is_a_bar() {
        let mut results = sample::results();
        let figure = price::figure(&View::new(&results)).unwrap();
        for chart in [&figure.wide, &figure.narrow] {
            assert_eq!(count(chart, "<rect"), 3 * crate::kvm::COUNTERS.len());
            assert!(chart.contains("emulated instructions") && chart.contains("3,500,000"));
        }
        results.boot.iter_mut().for_each(|start| start.kvm_at.clear());
        assert!(price::figure(&View::new(&results)).is_none());
    }

    #[test]
    fn every_storm_is_a_dot_on_its_runtimes_line() {
        let results = sample::rich();
        assert!(storm::figure(&View::new(&sample::results())).is_none());
        let figure = storm::figure(&View::new(&results)).unwrap();
        let storms = results.cells.iter().filter(|cell| cell.workload == "storm").count();
        for chart in [&figure.wide, &figure.narrow] {
            // One more dot for each name; an interval is a line of its own.
            assert_eq!(count(chart, "<circle"), storms + results.runtimes.len());
            assert!(chart.contains("\n16\n") && chart.contains("firecracker"));
        }
    }

    #[test]
    fn other_ways_of_starting_are_parts_of_the_cold_one() {
        let results = sample::warm();
        let view = View::new(&results);
        assert!(ways::figure(&View::new(&sample::rich())).is_none());
        let chart = ways::figure(&view).unwrap().wide;
        assert_eq!(count(&chart, "<circle"), 3);
        assert!(chart.contains("microvm, pool") && chart.contains("same as cold"));
        // A cold start's line is drawn through, the others are dashed.
        let lines = memory::panels(&view).remove(0).wide;
        assert_eq!(count(&lines, "<polyline fill=\"none\" stroke=\"var(--s0)\""), 1);
        assert!(count(&lines, "<polyline fill=\"none\" stroke=\"var(--s1)\"") > 5);
        // Every runtime is a bar in two shades.
        let split = split::figure(&view).unwrap().wide;
        assert_eq!(count(&split, "<rect"), 2 * view.walls.len());
        assert!(split.contains("8 alive"), "{split}");
    }

    #[test]
    fn a_distribution_needs_three_starts() {
        let mut results = sample::results();
        results.boot.retain(|sample| sample.runtime == "container" || sample.block < 3);
        assert_eq!(ecdf::panels(&View::new(&results)).len(), 1);
    }

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
