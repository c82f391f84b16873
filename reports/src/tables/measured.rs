//! Tables of what was measured.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::{Datum, Table, figures, nothing, plain, with, words};
use crate::clocks::{self, FIRST_OUTPUT, Phase};
use crate::schema::{Cell, DensitySample, Fit};
use crate::units::{Measured, NO_FIGURE, Unit, count, float, many, probability, ratio, times};
use crate::view::{
    NOT_FROM_ZERO, TOO_FEW, View, Wall, doubt, is_within_noise, median, printable, slope,
    steeper,
};

/// Start time of each runtime.
pub fn starts(view: &View<'_>) -> Table {
    let mut table = Table::new(
        [words("Runtime")]
            .into_iter()
            .chain(summary_head())
            .chain([words("Compared with the baseline")]),
    );
    for wall in &view.walls {
        let Some(cell) = view.start(wall.name) else { continue };
        let compared = view
            .chief_ratios(cell)
            .into_iter()
            .map(|ratio| format!("{} ({})", view.compared(ratio), probability(ratio.p_value)))
            .collect::<Vec<_>>();
        let mut row = vec![plain(&wall.label)];
        row.extend(summary(cell));
        row.push(if compared.is_empty() { nothing() } else { plain(compared.join("; ")) });
        table.rows.push(row);
    }
    table
}

fn summary_head() -> Vec<super::Head> {
    ["n", "Median [95 %]", "p90", "p99", "Min", "Max", "MAD", "Outliers"].map(figures).to_vec()
}

fn summary(cell: &Cell) -> Vec<Datum> {
    let unit = Unit::named(&cell.unit);
    let percentile =
        |value: Option<f64>| plain(value.map_or(NO_FIGURE.to_owned(), |v| unit.show(v)));
    vec![
        plain(many(cell.n)),
        beside(median(cell)),
        percentile(cell.p90),
        percentile(cell.p99),
        plain(unit.show(cell.min)),
        plain(unit.show(cell.max)),
        plain(unit.show(cell.mad)),
        plain(many(cell.outliers)),
    ]
}

fn beside(measured: Measured) -> Datum {
    with(measured.value, measured.interval.unwrap_or_default())
}

/// Phases of each runtime's median start.
pub fn phases(view: &View<'_>) -> Table {
    let columns: Vec<(&Wall<'_>, u64, Vec<Phase<'_>>)> = view
        .walls
        .iter()
        .filter_map(|wall| {
            let sample = view.median_start(wall.name)?;
            let start = sample.clocks_ns.get(FIRST_OUTPUT).copied()?;
            Some((wall, start, clocks::phases(&sample.clocks_ns)))
        })
        .collect();
    let mut table = Table::new(
        [words("Phase")]
            .into_iter()
            .chain(columns.iter().map(|(wall, ..)| figures(&wall.label))),
    );
    let keys: BTreeSet<(usize, &str)> = columns
        .iter()
        .flat_map(|(.., phases)| phases.iter().map(|phase| (phase.order, phase.clock)))
        .collect();
    for (order, clock) in keys {
        let known = clocks::CLOCKS.get(order);
        let name = known.map_or_else(|| plain(printable(clock)), |c| with(c.phase, c.meaning));
        let mut row = vec![name];
        for (_, start, phases) in &columns {
            let phase = phases.iter().find(|phase| phase.clock == clock);
            row.push(phase.map_or_else(nothing, |phase| phase_cell(phase, *start)));
        }
        table.rows.push(row);
    }
    if !columns.is_empty() {
        table
            .rows
            .push(total(&columns, "Start", "sum until the first output", |start, _| start));
        table.rows.push(total(&columns, "Life", "sum until released", |_, phases| {
            phases.iter().fold(0, |sum, phase| sum.saturating_add(phase.nanoseconds))
        }));
    }
    table
}

fn phase_cell(phase: &Phase<'_>, start_ns: u64) -> Datum {
    let part = float(phase.nanoseconds) / float(start_ns) * 100.0;
    let aside = if phase.before_output && part.is_finite() {
        format!("{part:.1} %")
    } else {
        String::new()
    };
    with(Unit::Nanoseconds.show(float(phase.nanoseconds)), aside)
}

fn total(
    columns: &[(&Wall<'_>, u64, Vec<Phase<'_>>)],
    name: &str,
    meaning: &str,
    of: impl Fn(u64, &[Phase<'_>]) -> u64,
) -> Vec<Datum> {
    let totals = columns
        .iter()
        .map(|(_, start, phases)| plain(Unit::Nanoseconds.show(float(of(*start, phases)))));
    [with(name, meaning)].into_iter().chain(totals).collect()
}

/// Memory for each further sandbox, measured in two ways.
pub fn memory(view: &View<'_>) -> Table {
    let mut table = Table::new([
        words("Runtime"),
        figures("Host memory each"),
        figures("PSS each"),
        figures("Points"),
        words("The two ways"),
    ]);
    for wall in &view.walls {
        let used = view.fit(wall.name, "used_bytes");
        let pss = view.fit(wall.name, "pss_bytes");
        let Some(points) = used.or(pss).map(|fit| fit.n) else { continue };
        let shown = |fit: Option<&Fit>| fit.map_or_else(nothing, |fit| beside(slope(fit)));
        table.rows.push(vec![
            plain(&wall.label),
            shown(used),
            shown(pss),
            plain(points.to_string()),
            plain(agreement(used, pss)),
        ]);
    }
    table
}

fn agreement(used: Option<&Fit>, pss: Option<&Fit>) -> String {
    let (Some(used), Some(pss)) = (used, pss) else {
        return NO_FIGURE.to_owned();
    };
    if is_within_noise(used) {
        return format!("host memory {NOT_FROM_ZERO}");
    }
    match steeper(used, pss) {
        None => TOO_FEW.to_owned(),
        Some(Ordering::Equal) => "intervals overlap".to_owned(),
        Some(_) if used.slope > 0.0 && pss.slope > 0.0 => {
            format!("differ: host memory is {} PSS", times(used.slope / pss.slope))
        }
        Some(_) => "differ".to_owned(),
    }
}

/// Which process the memory of one sandbox sits in, at the largest number of
/// sandboxes.
pub fn memory_split(view: &View<'_>) -> Table {
    let samples = &view.results.density;
    let roles: BTreeSet<&str> =
        samples.iter().flat_map(|sample| sample.pss_bytes.keys().map(String::as_str)).collect();
    let mut head = vec![words("Runtime"), figures("Sandboxes")];
    head.extend(roles.iter().map(|role| figures(format!("PSS, {}", printable(role)))));
    head.push(figures("Kernel (cgroup)"));
    let mut table = Table::new(head);
    for wall in &view.walls {
        let mine = || samples.iter().filter(|sample| sample.runtime == wall.name);
        let Some(largest) = mine().map(|sample| sample.count).max().filter(|n| *n > 0) else {
            continue;
        };
        let at_largest: Vec<&DensitySample> = mine().filter(|s| s.count == largest).collect();
        let mean = |of: &dyn Fn(&DensitySample) -> Option<u64>| {
            let sizes: Vec<f64> = at_largest.iter().filter_map(|s| of(s)).map(float).collect();
            let each = sizes.iter().sum::<f64>() / count(sizes.len()) / f64::from(largest);
            plain(Unit::Bytes.show(each))
        };
        let mut row = vec![plain(&wall.label), plain(largest.to_string())];
        row.extend(
            roles.iter().map(|role| mean(&|sample| sample.pss_bytes.get(*role).copied())),
        );
        row.push(mean(&|sample| sample.kernel_bytes));
        table.rows.push(row);
    }
    table
}

/// Every summary of the results, for the appendix.
pub fn every_cell(view: &View<'_>) -> Table {
    let mut table = Table::new(
        ["Workload", "Metric", "Runtime"].map(words).into_iter().chain(summary_head()),
    );
    for cell in &view.results.cells {
        let mut row = vec![
            plain(printable(&cell.workload)),
            plain(printable(&cell.metric)),
            plain(view.label(&cell.runtime)),
        ];
        row.extend(summary(cell));
        table.rows.push(row);
    }
    table
}

/// Every comparison of the results, for the appendix.
pub fn every_ratio(view: &View<'_>) -> Table {
    let mut table = Table::new([
        words("Workload"),
        words("Metric"),
        words("Runtime"),
        words("Compared with"),
        figures("Ratio [95 %]"),
        figures("Permutation test"),
        words("Difference"),
    ]);
    for found in &view.results.ratios {
        table.rows.push(vec![
            plain(printable(&found.workload)),
            plain(printable(&found.metric)),
            plain(view.label(&found.runtime)),
            plain(view.label(&found.baseline)),
            beside(ratio(found.ratio, found.low, found.high)),
            plain(probability(found.p_value)),
            plain(doubt(found).unwrap_or("yes")),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use crate::tables::tests::text;

    #[test]
    fn every_row_is_as_long_as_its_head() {
        let results = sample::results();
        let view = View::new(&results);
        for table in [
            starts(&view),
            phases(&view),
            memory(&view),
            memory_split(&view),
            every_cell(&view),
        ] {
            assert!(!table.is_empty());
            assert!(table.rows.iter().all(|row| row.len() == table.head.len()), "{table:?}");
        }
    }

    #[test]
    fn unsupported_percentiles_are_not_printed() {
        let results = sample::results();
        let table = starts(&View::new(&results));
        let p99 = table.head.iter().position(|head| head.text == "p99").unwrap();
        assert!(table.rows.iter().all(|row| row[p99] == nothing()));
    }

    #[test]
    fn phases_of_the_median_start_add_up() {
        let results = sample::results();
        let view = View::new(&results);
        let shown = text(&phases(&view));
        assert!(shown.contains("guest kernel"), "{shown}");
        assert!(shown.contains("Start sum until the first output"), "{shown}");
    }

    #[test]
    fn disagreement_of_the_two_ways_is_shown() {
        let results = sample::results();
        let fits = &results.fits;
        let far = Fit { slope: 3.0, slope_low: 2.9, slope_high: 3.1, ..fits[0].clone() };
        let near = Fit { slope: 2.0, slope_low: 1.9, slope_high: 2.1, ..fits[1].clone() };
        assert_eq!(agreement(Some(&far), Some(&near)), "differ: host memory is 1.50× PSS");
        assert_eq!(agreement(Some(&near), Some(&near)), "intervals overlap");
        let flat = Fit { slope: -1.0, slope_low: -2.0, slope_high: 0.5, ..far };
        let said = "host memory not distinguishable from zero";
        assert_eq!(agreement(Some(&flat), Some(&near)), said);
        let few = Fit { slope_low: f64::NAN, slope_high: f64::NAN, ..near.clone() };
        assert_eq!(agreement(Some(&few), Some(&near)), TOO_FEW);
        assert_eq!(agreement(None, Some(&near)), NO_FIGURE);
    }
}
