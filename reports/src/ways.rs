//! One runtime started in several ways: from nothing, from what was prepared once,
//! or taken from a pool.

use crate::clocks::START_METRIC;
use crate::schema::{Cell, Ratio, Start};
use crate::view::{BOOT, View, Wall};

/// One way of starting a runtime that has more than one.
#[derive(Debug, Clone)]
pub struct Way<'v, 'a> {
    /// The entry of the results it is.
    pub wall: &'v Wall<'a>,
    /// Its start time, where that was measured.
    pub start: Option<&'a Cell>,
    /// The runtime's cold start, where this is another one.
    pub cold: Option<&'v Wall<'a>>,
    /// What its start time is of that.
    pub of_cold: Option<Ratio>,
}

/// Every way of starting the runtimes that were started in more than one, runtime
/// by runtime; nothing where none was.
pub fn ways<'v, 'a>(view: &'v View<'a>) -> Vec<Way<'v, 'a>> {
    view.walls
        .iter()
        .filter(|wall| several(view, wall) && measured(view, wall))
        .map(|wall| way(view, wall))
        .collect()
}

/// The runtime of `wall` has a start that is not cold.
fn several(view: &View<'_>, wall: &Wall<'_>) -> bool {
    let other = |w: &Wall<'_>| w.start() != Start::Cold && measured(view, w);
    view.walls.iter().any(|w| w.runtime() == wall.runtime() && other(w))
}

fn measured(view: &View<'_>, wall: &Wall<'_>) -> bool {
    let keeps = || view.results.fits.iter().any(|fit| fit.runtime == wall.name);
    view.start(wall.name).is_some() || keeps()
}

fn way<'v, 'a>(view: &'v View<'a>, wall: &'v Wall<'a>) -> Way<'v, 'a> {
    let cold = view.cold_of(wall);
    let of_cold = cold.and_then(|w| view.between(BOOT, START_METRIC, wall.name, w.name));
    Way { wall, start: view.start(wall.name), cold, of_cold }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn ways_of_one_runtime_stand_together_and_begin_with_the_cold_one() {
        let results = sample::warm();
        let view = View::new(&results);
        let ways = ways(&view);
        let names: Vec<&str> = ways.iter().map(|way| way.wall.name).collect();
        let expected =
            ["container", "container-warm", "microvm", "microvm-warm", "microvm-pool"];
        assert_eq!(names, expected);
        assert!(ways[0].of_cold.is_none() && ways[2].of_cold.is_none());
        let ratio = ways[3].of_cold.as_ref().unwrap();
        assert_eq!((ratio.ratio, ratio.baseline.as_str()), (0.06, "microvm"));
        assert_eq!(ways[2].wall.series, ways[4].wall.series);
    }

    #[test]
    fn runs_with_one_way_have_nothing_to_compare() {
        assert!(ways(&View::new(&sample::results())).is_empty());
        assert!(ways(&View::new(&sample::rich())).is_empty());
    }

    #[test]
    fn a_comparison_the_other_way_round_is_turned() {
        let mut results = sample::warm();
        for ratio in results.ratios.iter_mut().filter(|r| r.runtime == "microvm-warm") {
            (ratio.runtime, ratio.baseline) = ("microvm".to_owned(), "microvm-warm".to_owned());
            (ratio.ratio, ratio.low, ratio.high) = (20.0, 16.0, 25.0);
        }
        let view = View::new(&results);
        let turned = ways(&view)[3].of_cold.clone().unwrap();
        assert_eq!((turned.ratio, turned.low, turned.high), (0.05, 0.04, 0.0625));
    }
}
