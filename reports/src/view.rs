//! Results as every renderer shows them: what is looked up, named and marked is
//! decided once, here, so that terminal, Markdown and HTML cannot disagree.

use std::cmp::Ordering;

use crate::badge;
use crate::clocks::{FIRST_OUTPUT, START_METRIC};
use crate::schema::{BootSample, Cell, Fit, Host, Ratio, Results, RuntimeInfo, Start, Surface};
use crate::units::{self, Measured, Unit};

/// Stands beside every microVM figure from a host that emulates guest kernels.
pub const MARK: &str = "†";

/// What the mark means.
pub const EMULATED: &str = "This host's KVM emulates guest kernel code one instruction at a \
    time. MicroVM figures here do not represent microVMs on hardware virtualisation (kvm_intel, \
    kvm_amd), where the processor runs that code itself.";

/// What is said when two runtimes do not differ beyond noise.
pub const NOT_DISTINGUISHABLE: &str = "not distinguishable";

/// What is said when there are not enough samples for an interval.
pub const TOO_FEW: &str = "too few samples to tell";

/// Said of a slope whose interval includes zero.
pub const NOT_FROM_ZERO: &str = "not distinguishable from zero";

/// The workload of starts.
pub const BOOT: &str = "boot";

/// The workload of idle sandboxes in rising numbers.
pub const DENSITY: &str = "density";

/// The workload of the probe's operations.
pub const SYSCALLS: &str = "syscalls";

/// One runtime as it appears in tables and charts.
#[derive(Debug, Clone)]
pub struct Wall<'a> {
    /// Name in the results.
    pub name: &'a str,
    /// Name for the reader, with [`MARK`] where it is due.
    pub label: String,
    /// Position among all.
    pub place: usize,
    /// Chooses its colour: a runtime has one, however its sandboxes are started.
    pub series: usize,
    /// What the results say about it.
    pub info: Option<&'a RuntimeInfo>,
}

impl<'a> Wall<'a> {
    /// The runtime itself, however its sandboxes are started.
    pub fn runtime(&self) -> &'a str {
        self.info.map_or(self.name, RuntimeInfo::runtime)
    }

    /// How its sandboxes are started.
    pub fn start(&self) -> Start {
        self.info.map_or(Start::Cold, |info| info.start)
    }
}

/// A way of looking at results.
#[derive(Debug)]
pub struct View<'a> {
    /// The results themselves.
    pub results: &'a Results,
    /// The runtimes that took part or could not, the baseline first.
    pub walls: Vec<Wall<'a>>,
}

impl<'a> View<'a> {
    /// A view of `results`.
    pub fn new(results: &'a Results) -> Self {
        let mut names: Vec<&str> = results.runtimes.iter().map(|r| r.name.as_str()).collect();
        let measured = (results.boot.iter().map(|s| &s.runtime))
            .chain(results.density.iter().map(|s| &s.runtime))
            .chain(results.cells.iter().map(|c| &c.runtime))
            .chain(results.fits.iter().map(|f| &f.runtime))
            .chain(results.attempts.iter().map(|a| &a.runtime))
            .chain(results.surfaces.iter().map(|s| &s.runtime));
        for name in measured {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        let emulates = badge::emulates(results);
        let info_of = |name| results.runtimes.iter().find(|runtime| runtime.name == name);
        let runtime_of = |name| info_of(name).map_or(name, RuntimeInfo::runtime);
        let runtimes = distinct(names.iter().map(|name| runtime_of(name)));
        let mut walls: Vec<Wall<'_>> = names
            .into_iter()
            .map(|name| {
                let info = info_of(name);
                let runtime = runtime_of(name);
                let series = runtimes.iter().position(|known| *known == runtime).unwrap_or(0);
                let microvm = info.map_or(name == "microvm", |i| i.isolation == "microvm");
                let mark =
                    if emulates && microvm { format!("\u{a0}{MARK}") } else { String::new() };
                Wall { name, label: printable(name) + &mark, place: 0, series, info }
            })
            .collect();
        // Ways of starting one runtime stand together, the cold one first.
        walls.sort_by_key(|wall| (wall.series, wall.start()));
        for (place, wall) in walls.iter_mut().enumerate() {
            wall.place = place;
        }
        Self { results, walls }
    }

    /// The cold start of the runtime that `wall` starts in another way.
    pub fn cold_of(&self, wall: &Wall<'_>) -> Option<&Wall<'a>> {
        let cold = |w: &&Wall<'_>| w.runtime() == wall.runtime() && w.start() == Start::Cold;
        self.walls.iter().find(cold).filter(|_| wall.start() != Start::Cold)
    }

    /// The label of the runtime called `name`.
    pub fn label(&self, name: &str) -> String {
        let wall = self.walls.iter().find(|wall| wall.name == name);
        wall.map_or_else(|| printable(name), |wall| wall.label.clone())
    }

    /// What each sandbox asks of the host, in the order of the runtimes.
    pub fn surfaces(&self) -> Vec<&'a Surface> {
        let mut surfaces: Vec<&Surface> = self.results.surfaces.iter().collect();
        let place = |name: &str| self.walls.iter().position(|wall| wall.name == name);
        surfaces.sort_by_key(|surface| place(&surface.runtime));
        surfaces
    }

    /// How many samples the summaries of a workload rest on: "n = 6 to 20".
    pub fn sizes(&self, workload: &str) -> String {
        let sizes = || {
            self.results
                .cells
                .iter()
                .filter(|cell| cell.workload == workload)
                .map(|cell| cell.n)
        };
        match (sizes().min(), sizes().max()) {
            (Some(least), Some(most)) if least < most => {
                format!("n = {} to {}", units::many(least), units::many(most))
            }
            (_, most) => format!("n = {}", units::many(most.unwrap_or(0))),
        }
    }

    /// There are figures here that need the warning.
    pub fn emulated(&self) -> bool {
        self.walls.iter().any(|wall| wall.label.contains(MARK))
    }

    /// The summary of one metric of one runtime.
    pub fn cell(&self, workload: &str, metric: &str, runtime: &str) -> Option<&'a Cell> {
        self.results.cells.iter().find(|cell| {
            cell.workload == workload && cell.metric == metric && cell.runtime == runtime
        })
    }

    /// The comparisons of one metric of one runtime.
    pub fn ratios(&self, workload: &str, metric: &str, runtime: &str) -> Vec<&'a Ratio> {
        let of =
            |r: &&Ratio| r.workload == workload && r.metric == metric && r.runtime == runtime;
        self.results.ratios.iter().filter(of).collect()
    }

    /// What one metric of `above` is of that of `below`. The harness compares a
    /// pair one way round; the other way round is its reciprocal.
    pub fn between(
        &self,
        workload: &str,
        metric: &str,
        above: &str,
        below: &str,
    ) -> Option<Ratio> {
        let found = |one: &str, other: &str| {
            self.ratios(workload, metric, one).into_iter().find(|ratio| ratio.baseline == other)
        };
        found(above, below).cloned().or_else(|| Some(inverted(found(below, above)?)))
    }

    /// The summary of a runtime's start.
    pub fn start(&self, runtime: &str) -> Option<&'a Cell> {
        self.cell(BOOT, START_METRIC, runtime)
    }

    /// The line through a runtime's density samples.
    pub fn fit(&self, runtime: &str, metric: &str) -> Option<&'a Fit> {
        self.results.fits.iter().find(|fit| fit.runtime == runtime && fit.metric == metric)
    }

    /// The starts of a runtime that count and came as far as their first output.
    pub fn counted_starts(&self, runtime: &str) -> Vec<&'a BootSample> {
        let counts = |sample: &&BootSample| {
            sample.runtime == runtime
                && !sample.warm_up
                && sample.clocks_ns.contains_key(FIRST_OUTPUT)
        };
        self.results.boot.iter().filter(counts).collect()
    }

    /// The start in the middle of a runtime's starts: a sample, not an average,
    /// so that its phases add up.
    pub fn median_start(&self, runtime: &str) -> Option<&'a BootSample> {
        let mut starts = self.counted_starts(runtime);
        starts.sort_by_key(|sample| sample.clocks_ns.get(FIRST_OUTPUT));
        let middle = starts.len().checked_sub(1)? / 2;
        starts.get(middle).copied()
    }

    /// The operations of the probe, in the order of the results.
    pub fn operations(&self) -> Vec<&'a str> {
        self.metrics(SYSCALLS)
    }

    /// The metrics of one workload, in the order of the results.
    pub fn metrics(&self, workload: &str) -> Vec<&'a str> {
        let cells = self.results.cells.iter().filter(|cell| cell.workload == workload);
        distinct(cells.map(|cell| cell.metric.as_str()))
    }

    /// The workloads that have no section of their own, in the order of the
    /// results.
    pub fn further_workloads(&self) -> Vec<&'a str> {
        let mut names = distinct(self.results.cells.iter().map(|cell| cell.workload.as_str()));
        names.retain(|name| ![BOOT, DENSITY, SYSCALLS].contains(name));
        names
    }

    /// The comparisons worth a line beside a figure: with the baseline, and with
    /// the runtime after it. All others are in the tables of the appendix.
    pub fn chief_ratios(&self, cell: &Cell) -> Vec<&'a Ratio> {
        let chief: Vec<&str> = self.walls.iter().take(2).map(|wall| wall.name).collect();
        let mut ratios = self.ratios(&cell.workload, &cell.metric, &cell.runtime);
        ratios.retain(|ratio| chief.contains(&ratio.baseline.as_str()));
        ratios
    }

    /// "12.4× native [12.1, 12.8]", or that there is no difference to speak of.
    pub fn compared(&self, ratio: &Ratio) -> String {
        let figure = units::ratio(ratio.ratio, ratio.low, ratio.high);
        let baseline = self.label(&ratio.baseline);
        let verdict = doubt(ratio).map(|doubt| format!(", {doubt}")).unwrap_or_default();
        let interval = figure.interval.map(|i| format!(" {i}")).unwrap_or_default();
        format!("{} {baseline}{interval}{verdict}", figure.value)
    }
}

/// Each of `names` once, in the order of their first appearance.
pub fn distinct<'n>(names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let mut seen: Vec<&str> = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

/// The same comparison seen from the other runtime.
fn inverted(ratio: &Ratio) -> Ratio {
    Ratio {
        runtime: ratio.baseline.clone(),
        baseline: ratio.runtime.clone(),
        ratio: 1.0 / ratio.ratio,
        low: 1.0 / ratio.high,
        high: 1.0 / ratio.low,
        ..ratio.clone()
    }
}

/// A cell's median and interval.
pub fn median(cell: &Cell) -> Measured {
    Unit::named(&cell.unit).measured(cell.median, cell.low, cell.high)
}

/// A fit's slope and interval.
pub fn slope(fit: &Fit) -> Measured {
    Unit::Bytes.measured(fit.slope, fit.slope_low, fit.slope_high)
}

/// Why a difference is not to be called one; `None` where it is.
pub fn doubt(ratio: &Ratio) -> Option<&'static str> {
    let has_interval = ratio.low.is_finite() && ratio.high.is_finite();
    match (ratio.distinguishable, has_interval) {
        (true, _) => None,
        (false, true) => Some(NOT_DISTINGUISHABLE),
        (false, false) => Some(TOO_FEW),
    }
}

/// Which of two slopes is the larger, as far as their intervals tell: equal where these
/// overlap, `None` where one has no interval.
pub fn steeper(one: &Fit, other: &Fit) -> Option<Ordering> {
    if one.slope_low > other.slope_high {
        Some(Ordering::Greater)
    } else if one.slope_high < other.slope_low {
        Some(Ordering::Less)
    } else {
        let ends = [one.slope_low, one.slope_high, other.slope_low, other.slope_high];
        ends.iter().all(|end| !end.is_nan()).then_some(Ordering::Equal)
    }
}

/// They are known to differ.
pub fn apart(one: &Fit, other: &Fit) -> bool {
    steeper(one, other).is_some_and(Ordering::is_ne)
}

/// The line is not known to rise.
pub fn is_within_noise(fit: &Fit) -> bool {
    fit.slope_low <= 0.0 && fit.slope_high >= 0.0
}

/// The host in one line.
pub fn host_in_short(host: &Host) -> String {
    let processors = if host.cpus == 1 { "processor" } else { "processors" };
    format!(
        "{}, {} {processors}, Linux {}",
        printable(&host.cpu_model),
        host.cpus,
        printable(&host.kernel)
    )
}

/// `text` on one line, without control characters.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn the_mark_is_on_microvms_of_an_emulating_host_only() {
        let mut results = sample::results();
        let labels: Vec<String> =
            View::new(&results).walls.iter().map(|wall| wall.label.clone()).collect();
        assert_eq!(labels, ["native", "container", "microvm\u{a0}†"]);
        if let Some(kvm) = &mut results.host.kvm {
            kvm.emulates_guest_kernel = false;
        }
        assert!(View::new(&results).walls.iter().all(|wall| !wall.label.contains(MARK)));
    }

    #[test]
    fn the_median_start_is_a_counted_sample() {
        let results = sample::results();
        let view = View::new(&results);
        let middle = view.median_start("container").unwrap();
        assert!(!middle.warm_up);
        let at = middle.clocks_ns[FIRST_OUTPUT];
        let below = view
            .counted_starts("container")
            .iter()
            .filter(|s| s.clocks_ns[FIRST_OUTPUT] < at)
            .count();
        let above = view
            .counted_starts("container")
            .iter()
            .filter(|s| s.clocks_ns[FIRST_OUTPUT] > at)
            .count();
        assert!(below <= above && above <= below + 1, "{below} below, {above} above");
        assert!(view.median_start("nobody").is_none());
    }

    #[test]
    fn slopes_differ_where_their_intervals_are_apart() {
        let fit = sample::results().fits.remove(0);
        let from =
            |low: f64, high: f64| Fit { slope_low: low, slope_high: high, ..fit.clone() };
        let (low, middle, high) = (from(1.0, 2.0), from(2.0, 4.0), from(3.0, 5.0));
        assert_eq!(steeper(&low, &high), Some(Ordering::Less));
        assert_eq!(steeper(&high, &low), Some(Ordering::Greater));
        assert_eq!(steeper(&middle, &high), Some(Ordering::Equal));
        assert_eq!(steeper(&low, &middle), Some(Ordering::Equal), "they touch");
        assert!(apart(&low, &high) && !apart(&middle, &high));
        let none = from(f64::NAN, f64::NAN);
        assert_eq!((steeper(&none, &high), steeper(&high, &none)), (None, None));
    }

    #[test]
    fn a_ratio_without_an_interval_decides_nothing() {
        let mut results = sample::results();
        let ratio = &mut results.ratios[0];
        (ratio.low, ratio.high, ratio.distinguishable) = (f64::NAN, f64::NAN, false);
        let shown = View::new(&results).compared(&results.ratios[0]);
        assert_eq!(shown, "3.44× native, too few samples to tell");
    }
}
