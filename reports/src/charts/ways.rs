//! Starts of one runtime in other ways, as parts of its cold start.

use super::Figure;
use super::ratios::{Point, Row, drawable, factors};
use crate::view::{View, printable};
use crate::ways::{Way, ways};

/// The chart, where any runtime was started in more than one way.
pub fn figure(view: &View<'_>) -> Option<Figure> {
    let rows: Vec<Row> = ways(view).iter().filter_map(row).collect();
    factors(&rows, "Start time as a part of the cold start's", "same as cold")
}

fn row(way: &Way<'_, '_>) -> Option<Row> {
    let ratio = way.of_cold.as_ref().filter(|ratio| drawable(ratio.ratio))?;
    let point = Point {
        series: way.wall.series,
        factor: ratio.ratio,
        low: ratio.low,
        high: ratio.high,
        hollow: !ratio.distinguishable,
    };
    let name = format!("{}, {}", printable(way.wall.runtime()), way.wall.start().as_str());
    Some(Row { name, points: vec![point] })
}
