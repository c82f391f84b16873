//! The sections of the page: what each shows, and that it is not there where there
//! is nothing to show.

use crate::charts::{
    Figure, ecdf, memory, phases, price, ratios, split, storm, strip, surface, ways,
};
use crate::effort;
use crate::findings;
use crate::isolation::{Matrix, matrix};
use crate::kvm;
use crate::method;
use crate::tables::{self, Table};
use crate::view::{BOOT, SYSCALLS, View, printable};
use crate::workloads;

/// The sentences at the top.
pub struct Findings {
    pub said: Vec<String>,
    /// How A/A came out: what the sentences' differences are measured against.
    pub agreement: Option<String>,
}

impl Findings {
    pub fn of(view: &View<'_>) -> Option<Self> {
        let said = findings::sentences(view);
        (!said.is_empty()).then(|| Self { said, agreement: effort::agreement(view) })
    }
}

/// Start times.
pub struct Starts {
    pub strip: Figure,
    pub logarithmic: bool,
    /// How many starts there are of a runtime.
    pub sizes: String,
    pub distributions: Vec<String>,
    pub table: Table,
}

impl Starts {
    pub fn of(view: &View<'_>) -> Option<Self> {
        Some(Self {
            strip: strip::figure(view)?,
            logarithmic: strip::is_logarithmic(view),
            sizes: view.sizes(BOOT),
            distributions: ecdf::panels(view),
            table: tables::starts(view),
        })
    }
}

/// Starts that are not cold.
pub struct Warm {
    pub chart: Option<Figure>,
    pub starts: Table,
    pub memory: Table,
}

impl Warm {
    pub fn of(view: &View<'_>) -> Option<Self> {
        let (starts, memory) = (tables::starts_by_way(view), tables::memory_by_way(view));
        let any = !starts.is_empty() || !memory.is_empty();
        any.then(|| Self { chart: ways::figure(view), starts, memory })
    }
}

/// Where a start's time goes.
pub struct Phases {
    pub chart: Figure,
    /// Position of the colour, name and meaning.
    pub legend: Vec<(usize, &'static str, &'static str)>,
    pub table: Table,
}

impl Phases {
    pub fn of(view: &View<'_>) -> Option<Self> {
        Some(Self {
            chart: phases::figure(view)?,
            legend: phases::legend(view),
            table: tables::phases(view),
        })
    }
}

/// What KVM counted.
pub struct Price {
    pub chart: Option<Figure>,
    pub dearest: Option<String>,
    pub by_phase: Table,
    pub counters: Table,
}

impl Price {
    pub fn of(view: &View<'_>) -> Option<Self> {
        let (chart, counters) = (price::figure(view), tables::kvm_counters(view));
        (chart.is_some() || !counters.is_empty()).then(|| Self {
            chart,
            dearest: kvm::dearest(view),
            by_phase: tables::kvm_by_phase(view),
            counters,
        })
    }
}

/// Memory of idle sandboxes.
pub struct Memory {
    pub panels: Vec<Figure>,
    pub slopes: Table,
    pub split: Option<Figure>,
    pub roles: Table,
}

impl Memory {
    pub fn of(view: &View<'_>) -> Option<Self> {
        let (panels, slopes) = (memory::panels(view), tables::memory(view));
        (!panels.is_empty() || !slopes.is_empty()).then(|| Self {
            panels,
            slopes,
            split: split::figure(view),
            roles: tables::memory_split(view),
        })
    }
}

/// The metrics of one workload.
pub struct Workload {
    pub title: String,
    pub chart: Option<Figure>,
    /// What the chart shows.
    pub caption: &'static str,
    /// What it rests on.
    pub sizes: String,
    pub table: Table,
}

impl Workload {
    /// The probe's operations.
    pub fn operations(view: &View<'_>) -> Option<Self> {
        let operations = Self::named(view, SYSCALLS);
        (!operations.table.is_empty()).then_some(operations)
    }

    /// The workloads without a section of their own.
    pub fn further(view: &View<'_>) -> Vec<Self> {
        let names = view.further_workloads().into_iter();
        names.map(|name| Self::named(view, name)).collect()
    }

    fn named(view: &View<'_>, name: &str) -> Self {
        let storm = (name == workloads::STORM).then(|| storm::figure(view)).flatten();
        let caption = if storm.is_some() { method::STORM } else { method::RATIOS };
        Self {
            title: workloads::title(name),
            chart: storm.or_else(|| ratios::figure(view, name)),
            caption,
            sizes: view.sizes(name),
            table: tables::workload(view, name),
        }
    }
}

/// What a wall buys.
pub struct Evidence {
    pub matrix: Matrix,
    pub observations: Table,
    pub surface: Option<Figure>,
    pub surfaces: Table,
    pub system_calls: Table,
}

impl Evidence {
    pub fn of(view: &View<'_>) -> Option<Self> {
        let (matrix, surface) = (matrix(view), surface::figure(view));
        (!matrix.rows.is_empty() || surface.is_some()).then(|| Self {
            matrix,
            observations: tables::observations(view),
            surface,
            surfaces: tables::surfaces(view),
            system_calls: tables::system_calls(view),
        })
    }
}

/// A runtime compared with itself.
pub struct Noise {
    pub said: Option<String>,
    /// Colour and name of the runtimes that were.
    pub series: Vec<(usize, String)>,
    pub chart: Figure,
    pub table: Table,
}

impl Noise {
    pub fn of(view: &View<'_>) -> Option<Self> {
        let compared = |name: &str| view.results.noise.iter().any(|f| f.runtime == name);
        let walls = view.walls.iter().filter(|wall| compared(wall.name));
        Some(Self {
            said: effort::agreement(view),
            series: walls.map(|wall| (wall.series % 8, wall.label.clone())).collect(),
            chart: ratios::noise(view)?,
            table: tables::noise(view),
        })
    }
}

/// Where the run's time went.
pub struct Effort {
    pub table: Table,
    pub said: Vec<String>,
}

impl Effort {
    pub fn of(view: &View<'_>) -> Option<Self> {
        let table = tables::effort(view);
        (!table.is_empty()).then(|| Self { table, said: effort::sentences(view) })
    }
}

/// The machine, the runtimes and the run.
pub struct Machine {
    pub runtimes: Table,
    pub host: Table,
    pub run: Table,
    /// Why the host's KVM is taken for what the badge says.
    pub reasons: Vec<String>,
    pub virtualisation: Table,
}

impl Machine {
    pub fn of(view: &View<'_>) -> Self {
        let profile = view.results.virtualisation.iter();
        let reasons = profile.flat_map(|profile| &profile.reasons);
        Self {
            runtimes: tables::runtimes(view),
            host: tables::host(view),
            run: tables::method(view),
            reasons: reasons.map(|reason| printable(reason)).collect(),
            virtualisation: tables::virtualisation(view),
        }
    }
}
