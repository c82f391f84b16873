//! What is known about this host: its last results, and whether they are about it.

use crate::clocks::START_METRIC;
use crate::operations::BARE_CALL;
use crate::schema::{Cell, Host, Results, VirtualisationKind};

use super::Wall;

/// Memory of the same host differs from boot to boot by what the kernel keeps.
const SAME_MEMORY: f64 = 0.05;

/// What advice may rest on.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The last results, where there are any.
    pub results: Option<&'a Results>,
    /// The host the advice is for.
    pub host: &'a Host,
    /// Why no microVM can be started on it, if so.
    pub no_microvm: Option<&'a str>,
}

impl Wall {
    /// Its name among the runtimes of a run.
    fn runtime(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::MicroVm => "microvm",
        }
    }
}

impl<'a> Evidence<'a> {
    /// The results, if they are about this host.
    pub fn own_results(&self) -> Option<&'a Results> {
        self.results.filter(|results| same(&results.host, self.host))
    }

    fn cell(&self, workload: &str, metric: &str, runtime: &str) -> Option<&'a Cell> {
        let matches = |cell: &&Cell| {
            cell.workload == workload
                && cell.metric == metric
                && cell.runtime == runtime
                && cell.median.is_finite()
        };
        self.own_results()?.cells.iter().find(matches)
    }

    /// Time from the request to the first output.
    pub fn start(&self, wall: Wall) -> Option<&'a Cell> {
        self.cell("boot", START_METRIC, wall.runtime())
    }

    /// What a system call costs more than without a wall, ns.
    pub fn call_cost(&self, wall: Wall) -> Option<f64> {
        let inside = self.cell("syscalls", BARE_CALL, wall.runtime())?.median;
        let outside = self.cell("syscalls", BARE_CALL, "native")?.median;
        Some((inside - outside).max(0.0))
    }

    /// Memory of one more idle sandbox, bytes: what its processes hold. (The fall
    /// of the host's free memory says the same on a quiet host only.)
    pub fn footprint(&self, wall: Wall) -> Option<f64> {
        let fits = &self.own_results()?.fits;
        let fit = fits
            .iter()
            .find(|fit| fit.runtime == wall.runtime() && fit.metric == "pss_bytes")?;
        (fit.slope.is_finite() && fit.slope >= 0.0).then_some(fit.slope)
    }

    /// Distinct system calls that reached the host's kernel from behind a wall.
    pub fn surface(&self, wall: Wall) -> Option<usize> {
        let surfaces = &self.own_results()?.surfaces;
        let surface = surfaces.iter().find(|surface| surface.runtime == wall.runtime())?;
        Some(surface.system_calls.len())
    }

    /// Whether this host's KVM emulates guest kernels: measured, or else guessed by
    /// the name of its module.
    pub fn emulated(&self) -> bool {
        let measured = self.own_results().and_then(|results| results.virtualisation.as_ref());
        match measured.map(|profile| profile.kind) {
            Some(VirtualisationKind::Emulated) => true,
            Some(VirtualisationKind::Hardware | VirtualisationKind::Nested) => false,
            Some(VirtualisationKind::Unknown) | None => {
                self.host.kvm.as_ref().is_some_and(|kvm| kvm.emulates_guest_kernel)
            }
        }
    }

    /// The first reason of the host's profile: its figures.
    pub fn virtualisation(&self) -> Option<&'a str> {
        let profile = self.own_results()?.virtualisation.as_ref()?;
        profile.reasons.first().map(String::as_str)
    }
}

/// Whether two descriptions are of one machine, with the kernel it had.
fn same(one: &Host, other: &Host) -> bool {
    let [a, b] = [one, other].map(|host| crate::units::float(host.memory_bytes));
    one.cpu_model == other.cpu_model
        && one.cpus == other.cpus
        && one.kernel == other.kernel
        && (a - b).abs() <= SAME_MEMORY * a.max(b)
}
