//! What KVM counted while a microVM started, phase by phase: where the wall's
//! price is paid.

use std::collections::BTreeMap;

use crate::clocks::{CLOCKS, Clock};
use crate::schema::BootSample;
use crate::units::{Unit, float, whole};
use crate::view::{View, Wall};

/// A counter of KVM's that tells what a phase costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// Name in `kvm_at`, which is the kernel's.
    pub name: &'static str,
    /// What a reader calls it.
    pub title: &'static str,
    /// What one of them is.
    pub about: &'static str,
}

/// The counters a phase is told by.
pub const COUNTERS: [Counter; 3] = [
    Counter {
        name: "exits",
        title: "exits",
        about: "the guest stops for KVM or its monitor to act",
    },
    Counter {
        name: "insn_emulation",
        title: "emulated instructions",
        about: "KVM executes one in the guest's place",
    },
    Counter {
        name: "pf_taken",
        title: "page faults",
        about: "KVM finds, or makes, a page of guest memory",
    },
];

/// The start in the middle of one runtime's starts.
#[derive(Debug, Clone)]
pub struct Paid<'v, 'a> {
    /// The runtime.
    pub wall: &'v Wall<'a>,
    /// What was counted in each phase, in order; together it is all there was.
    pub phases: Vec<Phase>,
}

/// One phase of a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// The clock it ends with: position in [`CLOCKS`].
    pub order: usize,
    /// How long it took, where both of its clocks were seen.
    pub nanoseconds: Option<u64>,
    /// What was counted in it: one for each of [`COUNTERS`].
    pub counts: [u64; COUNTERS.len()],
}

impl Phase {
    /// Its name for a reader.
    pub fn title(&self) -> &'static str {
        CLOCKS.get(self.order).map_or("the rest", |clock| clock.phase)
    }
}

/// The median start of every runtime whose KVM counted by phase.
pub fn paid<'v, 'a>(view: &'v View<'a>) -> Vec<Paid<'v, 'a>> {
    let of = |wall: &'v Wall<'a>| {
        let start = view.median_start(wall.name)?;
        (!start.kvm_at.is_empty()).then(|| Paid { wall, phases: phases(start) })
    };
    view.walls.iter().filter_map(of).collect()
}

/// Nothing is counted before the guest's first instruction; the counters at the
/// end are those of the last phase.
fn phases(start: &BootSample) -> Vec<Phase> {
    let at = |name: &str| start.clocks_ns.get(name).copied();
    let seen = |clock: &Clock| clock.name == LAST || start.kvm_at.contains_key(clock.name);
    let clocks = CLOCKS.iter().enumerate().filter(|(_, clock)| seen(clock));
    let mut counted = [0; COUNTERS.len()];
    let mut since = at("first_guest_instruction");
    let phase = |(order, clock): (usize, &Clock)| {
        let counters =
            if clock.name == LAST { Some(&start.kvm) } else { start.kvm_at.get(clock.name) };
        let now = of(counters.unwrap_or(&start.kvm));
        let counts = std::array::from_fn(|i| now[i].saturating_sub(counted[i]));
        let until = at(clock.name);
        let nanoseconds = since.zip(until).map(|(from, to)| to.saturating_sub(from));
        (counted, since) = (now, until);
        Phase { order, nanoseconds, counts }
    };
    clocks.map(phase).collect()
}

/// What an emulated instruction took in the phase that has the most of them.
pub fn dearest(view: &View<'_>) -> Option<String> {
    let emulated = |phase: &Phase| phase.counts[EMULATED];
    let paid = paid(view);
    let phases = paid.iter().flat_map(|paid| paid.phases.iter().map(move |p| (paid.wall, p)));
    let (wall, phase) = phases.max_by_key(|(_, phase)| emulated(phase))?;
    let (count, took) = (emulated(phase), float(phase.nanoseconds?));
    (count > 0).then(|| {
        format!(
            "{}, {}: {} emulated instructions in {}, at most {} for each.",
            wall.label,
            phase.title(),
            whole(count),
            Unit::Nanoseconds.show(took),
            Unit::Nanoseconds.show(took / float(count))
        )
    })
}

/// Position of the emulated instructions in [`COUNTERS`].
const EMULATED: usize = 1;

/// The clock after which nothing is counted: KVM's counters are read when the
/// virtual processor has stopped.
const LAST: &str = "exit_observed";

/// A counter at zero is not written down.
fn of(counters: &BTreeMap<String, u64>) -> [u64; COUNTERS.len()] {
    COUNTERS.map(|counter| counters.get(counter.name).copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn phases_add_up_to_the_whole() {
        let mut results = sample::results();
        let counters = |exits: u64| BTreeMap::from([("exits".to_owned(), exits)]);
        for start in results.boot.iter_mut().filter(|start| start.runtime == "microvm") {
            start.kvm_at = BTreeMap::from([
                ("kernel_done".to_owned(), counters(700)),
                ("workload_exec".to_owned(), counters(1_000)),
            ]);
        }
        let view = View::new(&results);
        let paid = paid(&view);
        assert_eq!(paid.len(), 1);
        let phases = &paid[0].phases;
        let titles: Vec<&str> = phases.iter().map(Phase::title).collect();
        assert_eq!(titles, ["guest kernel", "to exec", "run and exit"]);
        assert_eq!(phases.iter().map(|p| p.counts[0]).collect::<Vec<_>>(), [700, 300, 200]);
        assert_eq!(phases[2].counts, [200, 5_000_000, 0]);
        let clocks = &view.median_start("microvm").unwrap().clocks_ns;
        let whole = clocks["exit_observed"] - clocks["first_guest_instruction"];
        assert_eq!(phases.iter().filter_map(|p| p.nanoseconds).sum::<u64>(), whole);
    }

    #[test]
    fn a_restored_machine_has_phases_of_its_own() {
        let results = sample::warm();
        let view = View::new(&results);
        let paid = paid(&view);
        let clone = paid.iter().find(|paid| paid.wall.name == "microvm-warm").unwrap();
        let titles: Vec<&str> = clone.phases.iter().map(Phase::title).collect();
        assert_eq!(titles, ["guest wakes", "to exec", "first output", "run and exit"]);
        let exits: Vec<u64> = clone.phases.iter().map(|phase| phase.counts[0]).collect();
        assert_eq!(exits, [100, 400, 200, 200]);
        assert_eq!(paid.iter().filter(|paid| paid.wall.name == "container-warm").count(), 0);
    }

    #[test]
    fn the_dearest_phase_names_the_price_of_an_instruction() {
        let results = sample::results();
        let said = dearest(&View::new(&results)).unwrap().replace('\u{a0}', " ");
        assert!(
            said.contains("guest kernel: 3,500,000 emulated instructions in 4.27 s"),
            "{said}"
        );
        assert!(said.ends_with("1.22 µs for each."), "{said}");
    }

    #[test]
    fn what_was_not_counted_is_not_there() {
        let mut results = sample::results();
        results.boot.iter_mut().for_each(|start| start.kvm_at.clear());
        assert!(paid(&View::new(&results)).is_empty());
    }
}
