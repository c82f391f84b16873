//! Tables of runtimes that were started in more than one way.

use super::{Table, figures, nothing, plain, with, words};
use crate::schema::Fit;
use crate::units::{Unit, many, probability, times};
use crate::view::{View, apart, doubt, is_within_noise, median, printable, slope};
use crate::ways::{Way, ways};

/// Start time of each way, and what it is of the cold start.
pub fn starts_by_way(view: &View<'_>) -> Table {
    let mut table = Table::new([
        words("Runtime"),
        words("Start"),
        figures("n"),
        figures("Median [95 %]"),
        figures("p90"),
        figures("Of its cold start [95 %]"),
        words("Difference"),
    ]);
    for way in ways(view) {
        let Some(cell) = way.start else { continue };
        let shown = median(cell);
        let unit = Unit::named(&cell.unit);
        let ratio = way.of_cold.as_ref();
        let part = ratio.map_or_else(nothing, |r| {
            let part = crate::units::ratio(r.ratio, r.low, r.high);
            with(part.value, part.interval.unwrap_or_default())
        });
        let verdict = ratio.map_or_else(nothing, |r| {
            plain(doubt(r).map_or_else(|| probability(r.p_value), str::to_owned))
        });
        table.rows.push(vec![
            plain(label(&way)),
            plain(way.wall.start().as_str()),
            plain(many(cell.n)),
            with(shown.value, shown.interval.unwrap_or_default()),
            cell.p90.map_or_else(nothing, |p90| plain(unit.show(p90))),
            part,
            verdict,
        ]);
    }
    table
}

/// Memory of each further sandbox, started in each way.
pub fn memory_by_way(view: &View<'_>) -> Table {
    let mut table = Table::new([
        words("Runtime"),
        words("Start"),
        figures("Host memory each"),
        figures("PSS each"),
        figures("Of it private"),
        words("Beside the cold start (PSS)"),
    ]);
    let has_fit = |name: &str| {
        ["used_bytes", "pss_bytes"].iter().any(|metric| view.fit(name, metric).is_some())
    };
    let ways = ways(view);
    for way in &ways {
        let fit = |metric| view.fit(way.wall.name, metric);
        if !has_fit(way.wall.name) {
            continue;
        }
        let shown = |metric| {
            fit(metric)
                .map(slope)
                .map_or_else(nothing, |s| with(s.value, s.interval.unwrap_or_default()))
        };
        let cold = way.cold.and_then(|cold| view.fit(cold.name, "pss_bytes"));
        let beside = fit("pss_bytes")
            .zip(cold)
            .map_or_else(nothing, |(own, cold)| plain(beside(own, cold)));
        table.rows.push(vec![
            plain(label(way)),
            plain(way.wall.start().as_str()),
            shown("used_bytes"),
            shown("pss_bytes"),
            shown("private_bytes"),
            beside,
        ]);
    }
    // Cold starts alone are in the table of all runtimes.
    if !ways.iter().any(|way| way.cold.is_some() && has_fit(way.wall.name)) {
        table.rows.clear();
    }
    table
}

/// The runtime alone: the way has a column of its own.
fn label(way: &Way<'_, '_>) -> String {
    way.wall.label.replacen(&printable(way.wall.name), &printable(way.wall.runtime()), 1)
}

/// A slope as a part of another, where their intervals are apart.
fn beside(own: &Fit, cold: &Fit) -> String {
    if is_within_noise(own) || is_within_noise(cold) {
        crate::view::NOT_FROM_ZERO.to_owned()
    } else if apart(own, cold) {
        format!("{} of it", times(own.slope / cold.slope))
    } else {
        "intervals overlap".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use crate::tables::tests::text;

    #[test]
    fn each_way_is_a_row_with_its_part_of_the_cold_start() {
        let results = sample::warm();
        let view = View::new(&results);
        let table = starts_by_way(&view);
        assert_eq!(table.rows.len(), 5);
        assert!(table.rows.iter().all(|row| row.len() == table.head.len()));
        let shown = text(&table);
        assert!(shown.contains("microvm †  | warm  | 20  | 312 ms"), "{shown}");
        assert!(shown.contains("0.0600× [0.0570, 0.0636] | p < 0.001"), "{shown}");
    }

    #[test]
    fn memory_of_clones_stands_beside_that_of_boots() {
        let results = sample::warm();
        let table = memory_by_way(&View::new(&results));
        let shown = text(&table);
        assert!(shown.contains("microvm †  | warm  | 2.50 MiB"), "{shown}");
        assert!(shown.contains("0.179× of it"), "{shown}");
        assert!(shown.contains("container  | warm  | 512 KiB"), "{shown}");
        assert!(shown.contains("intervals overlap"), "{shown}");
        assert!(memory_by_way(&View::new(&sample::rich())).is_empty());
        let mut unstarted = results.clone();
        unstarted.cells.clear();
        let alone = memory_by_way(&View::new(&unstarted));
        assert_eq!(alone, table, "it needs no start times");
        assert!(starts_by_way(&View::new(&unstarted)).is_empty());
        let mut cold = results;
        cold.fits.retain(|fit| !fit.runtime.contains('-'));
        assert!(memory_by_way(&View::new(&cold)).is_empty());
    }
}
