//! What changed between two results files: factors, the largest change first.

use super::Figure;
use super::ratios::{Point, Row, factors};
use crate::comparison::{Change, Comparison};
use crate::view::printable;

/// More changes than this are a table, not a chart.
const MOST: usize = 40;

/// The chart, where anything changed: one row for each metric, one dot for each
/// runtime it changed behind.
pub fn figure(comparison: &Comparison) -> Option<Figure> {
    let mut rows: Vec<Row> = Vec::new();
    for change in comparison.changed() {
        let name = printable(&format!("{}: {}", change.workload, change.metric));
        let Some(point) = point(comparison, change) else { continue };
        match rows.iter().position(|row| row.name == name) {
            Some(known) => rows[known].points.push(point),
            None => rows.push(Row { name, points: vec![point] }),
        }
    }
    rows.truncate(MOST);
    factors(
        &rows,
        "Each metric of the second file as a multiple of the first",
        "same as before",
    )
}

fn point(comparison: &Comparison, change: &Change) -> Option<Point> {
    let series = comparison.runtimes.iter().position(|name| *name == change.runtime)?;
    let (factor, low, high) = (change.ratio, change.low, change.high);
    (factor.is_finite() && factor > 0.0).then_some(Point {
        series,
        factor,
        low,
        high,
        hollow: false,
    })
}
