//! The rules, one row each. A row looks at one need and at what was measured about
//! it, and says which wall it speaks for, how much, and why.
//!
//! A rule that has nothing to say about a case says nothing. The order matters in one
//! place only: where two needs each demand another wall, the earlier rule decides and
//! the later need is reported as not met. Safety comes first.

use super::evidence::Evidence;
use super::needs::{Needs, Trust};
use super::{Basis, Finding, Wall, Weight};
use crate::schema::Cell;
use crate::units::{Unit, float, number};

/// One row of the table.
#[derive(Debug)]
pub struct Rule {
    /// Its name, in JSON and in tests.
    pub name: &'static str,
    /// What it says about a case, if anything.
    pub judge: fn(&Needs, &Evidence<'_>) -> Option<Finding>,
}

/// Every rule.
pub const RULES: [Rule; 10] = [
    Rule { name: "hostile-code", judge: hostile_code },
    Rule { name: "no-microvm-here", judge: no_microvm_here },
    Rule { name: "host-features", judge: host_features },
    Rule { name: "start-deadline", judge: start_deadline },
    Rule { name: "memory", judge: memory },
    Rule { name: "system-calls", judge: system_calls },
    Rule { name: "third-party-code", judge: third_party_code },
    Rule { name: "own-code", judge: own_code },
    Rule { name: "unknown-code", judge: unknown_code },
    Rule { name: "emulated-kvm", judge: emulated_kvm },
];

/// A share of one processor spent on crossing a wall that is worth avoiding.
const DEAR: f64 = 0.1;
/// A share that cannot be spent: a workload's calls are made on its own processor.
const IMPOSSIBLE: f64 = 1.0;
/// Part of the host's memory that sandboxes may fill; the rest is the host's own.
const USABLE_MEMORY: f64 = 0.9;
/// From this many instances on, memory is worth a word without figures.
const MANY: u32 = 50;

fn hostile_code(needs: &Needs, evidence: &Evidence<'_>) -> Option<Finding> {
    (needs.trust == Some(Trust::Hostile)).then(|| {
        let (seen, basis) = surface(evidence);
        let because = format!(
            "hostile code must not reach the host's kernel, where one bug is a way out{seen}"
        );
        Finding::new(Wall::MicroVm, Weight::Must, basis, because)
    })
}

fn no_microvm_here(_: &Needs, evidence: &Evidence<'_>) -> Option<Finding> {
    let because = format!("no microVM can be started on this host: {}", evidence.no_microvm?);
    Some(Finding::new(Wall::Container, Weight::Must, Basis::Principle, because))
}

fn host_features(needs: &Needs, _: &Evidence<'_>) -> Option<Finding> {
    (!needs.host_features.is_empty()).then(|| {
        let because = format!(
            "it uses {} of the host: a microVM has a kernel and virtio devices of its own",
            needs.host_features.join(", ")
        );
        Finding::new(Wall::Container, Weight::Must, Basis::Principle, because)
    })
}

fn start_deadline(needs: &Needs, evidence: &Evidence<'_>) -> Option<Finding> {
    let deadline = needs.start_within_ms? * 1e6;
    let shown = Unit::Nanoseconds.show(deadline);
    let (Some(container), Some(microvm)) =
        (evidence.start(Wall::Container), evidence.start(Wall::MicroVm))
    else {
        let because = format!(
            "a container starts without booting a kernel; whether either starts within \
             {shown} here was not measured"
        );
        return Some(Finding::new(Wall::Container, Weight::Slight, Basis::Missing, because));
    };
    let figures = format!(
        "a container starts in {} here, a microVM in {}; the deadline is {shown}",
        start(container),
        start(microvm)
    );
    Some(match (late(container) <= deadline, late(microvm) <= deadline) {
        (true, false) => Finding::new(Wall::Container, Weight::Must, Basis::Measured, figures),
        (false, true) => Finding::new(Wall::MicroVm, Weight::Must, Basis::Measured, figures),
        (true, true) => {
            Finding::neutral(Basis::Measured, format!("both are in time: {figures}"))
        }
        (false, false) => Finding::unmet(format!("neither is in time: {figures}")),
    })
}

fn memory(needs: &Needs, evidence: &Evidence<'_>) -> Option<Finding> {
    let count = needs.count?;
    let each = needs.memory_mib.unwrap_or(0.0) * 1_048_576.0;
    let (Some(container), Some(microvm)) =
        (evidence.footprint(Wall::Container), evidence.footprint(Wall::MicroVm))
    else {
        let because = format!(
            "{count} microVMs are {count} guest kernels in memory; what one takes here was \
             not measured"
        );
        return (count >= MANY)
            .then(|| Finding::new(Wall::Container, Weight::Slight, Basis::Missing, because));
    };
    let total = |footprint: f64| f64::from(count) * (each + footprint);
    let usable = float(evidence.host.memory_bytes) * USABLE_MEMORY;
    let show = |bytes| Unit::Bytes.show(bytes);
    let figures = format!(
        "{count} instances take {} in containers and {} in microVMs ({} and {} for each \
         besides its own), of {} here",
        show(total(container)),
        show(total(microvm)),
        show(container),
        show(microvm),
        show(float(evidence.host.memory_bytes)),
    );
    Some(match (total(container) <= usable, total(microvm) <= usable) {
        (true, false) => Finding::new(Wall::Container, Weight::Must, Basis::Measured, figures),
        (false, true) => Finding::new(Wall::MicroVm, Weight::Must, Basis::Measured, figures),
        (true, true) => Finding::neutral(Basis::Measured, figures),
        (false, false) => Finding::unmet(format!("they do not fit: {figures}")),
    })
}

fn system_calls(needs: &Needs, evidence: &Evidence<'_>) -> Option<Finding> {
    let rate = needs.system_calls_per_second?;
    let (Some(container), Some(microvm)) =
        (evidence.call_cost(Wall::Container), evidence.call_cost(Wall::MicroVm))
    else {
        let because = "what a system call costs behind each wall here was not measured";
        return Some(Finding::neutral(Basis::Missing, because));
    };
    let [of_container, of_microvm] = [container, microvm].map(|cost| cost * rate / 1e9);
    let figures = format!(
        "{} system calls a second cost {} % of a processor more in a container than without a \
         wall, and {} % more in a microVM ({} and {} a call)",
        number(rate),
        number(of_container * 100.0),
        number(of_microvm * 100.0),
        Unit::Nanoseconds.show(container),
        Unit::Nanoseconds.show(microvm),
    );
    let (cheaper, dearer) = if of_container <= of_microvm {
        (Wall::Container, of_microvm)
    } else {
        (Wall::MicroVm, of_container)
    };
    let difference = (of_container - of_microvm).abs();
    Some(if of_container.min(of_microvm) >= IMPOSSIBLE {
        Finding::unmet(format!("too many system calls for either wall: {figures}"))
    } else if dearer >= IMPOSSIBLE {
        Finding::new(cheaper, Weight::Must, Basis::Measured, figures)
    } else if difference >= DEAR {
        Finding::new(cheaper, Weight::Strong, Basis::Measured, figures)
    } else {
        Finding::neutral(Basis::Measured, figures)
    })
}

fn third_party_code(needs: &Needs, evidence: &Evidence<'_>) -> Option<Finding> {
    (needs.trust == Some(Trust::ThirdParty)).then(|| {
        let (seen, basis) = surface(evidence);
        let because =
            format!("code of others is better kept from the host's kernel altogether{seen}");
        Finding::new(Wall::MicroVm, Weight::Strong, basis, because)
    })
}

fn own_code(needs: &Needs, evidence: &Evidence<'_>) -> Option<Finding> {
    (needs.trust == Some(Trust::Own)).then(|| {
        let starts = evidence.start(Wall::Container).zip(evidence.start(Wall::MicroVm));
        let (cost, basis) = match starts {
            Some((container, microvm)) => (
                format!(", and starts in {} here, not {}", start(container), start(microvm)),
                Basis::Measured,
            ),
            None => (String::new(), Basis::Principle),
        };
        let because =
            format!("your own code needs a wall against mistakes, which a container is{cost}");
        Finding::new(Wall::Container, Weight::Strong, basis, because)
    })
}

fn unknown_code(needs: &Needs, _: &Evidence<'_>) -> Option<Finding> {
    needs.trust.is_none().then(|| {
        let because = "nothing is said about who wrote the code: in doubt, the stronger wall";
        Finding::new(Wall::MicroVm, Weight::Slight, Basis::Missing, because)
    })
}

fn emulated_kvm(_: &Needs, evidence: &Evidence<'_>) -> Option<Finding> {
    evidence.emulated().then(|| {
        let (figures, basis) = match evidence.virtualisation() {
            Some(figures) => (format!(": {figures}"), Basis::Measured),
            None => (", by the name of its module".to_owned(), Basis::Missing),
        };
        let because = format!("this host's KVM emulates the kernels of its guests{figures}");
        Finding::new(Wall::Container, Weight::Strong, basis, because)
    })
}

/// The latest a start is to be expected: nine of ten, or every one there was where
/// there were too few.
fn late(cell: &Cell) -> f64 {
    cell.p90.unwrap_or(cell.max)
}

fn start(cell: &Cell) -> String {
    Unit::Nanoseconds.measured(cell.median, cell.low, cell.high).to_string()
}

/// What was measured of the host's kernel behind each wall, as the end of a sentence.
fn surface(evidence: &Evidence<'_>) -> (String, Basis) {
    let [container, microvm] = [Wall::Container, Wall::MicroVm].map(|it| evidence.surface(it));
    match (container, microvm) {
        (Some(container), Some(microvm)) => (
            format!(
                " (the same workload made {container} distinct system calls to it from a \
                 container, and a microVM's monitor {microvm})"
            ),
            Basis::Measured,
        ),
        _ => (String::new(), Basis::Principle),
    }
}
