//! What the named clocks of a start mean to a reader, and the phases between
//! them.

use std::collections::BTreeMap;

/// The clock that ends a start.
pub const FIRST_OUTPUT: &str = "first_output";

/// The metric every report leads with.
pub const START_METRIC: &str = "request→first_output";

/// The part of a start that is the monitor's alone.
pub const RESUMED_METRIC: &str = "request→first_guest_instruction";

/// A named clock, and the phase that ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Name in `clocks_ns`.
    pub name: &'static str,
    /// Name of the phase that ends here.
    pub phase: &'static str,
    /// What happens in that phase.
    pub meaning: &'static str,
}

/// Every clock after `request`, in order.
pub const CLOCKS: [Clock; 11] = [
    Clock {
        name: "rootfs_ready",
        phase: "root filesystem",
        meaning: "the image's layers become a tree to enter or a disk to attach",
    },
    Clock {
        name: "memory_mapped",
        phase: "memory",
        meaning: "the snapshot's memory is mapped, copy on write (restored microVM only)",
    },
    Clock {
        name: "state_restored",
        phase: "state",
        meaning: "processor and devices are as they were saved (restored microVM only)",
    },
    Clock {
        name: "sandbox_created",
        phase: "sandbox",
        meaning: "namespaces and cgroup are set up; or VM, memory and devices",
    },
    Clock {
        name: "first_guest_instruction",
        phase: "vCPU entry",
        meaning: "the virtual CPU enters the guest (microVM only)",
    },
    Clock {
        name: "kernel_done",
        phase: "guest kernel",
        meaning: "the guest kernel boots and starts PID 1 (microVM only)",
    },
    Clock {
        name: "agent_ready",
        phase: "guest wakes",
        meaning: "the restored guest's agent answers (restored microVM only)",
    },
    Clock {
        name: "workload_exec",
        phase: "to exec",
        meaning: "everything inside the wall up to the workload's execve",
    },
    Clock {
        name: FIRST_OUTPUT,
        phase: "first output",
        meaning: "the workload's first byte reaches the host",
    },
    Clock {
        name: "exit_observed",
        phase: "run and exit",
        meaning: "the workload ends and the host has seen it",
    },
    Clock {
        name: "released",
        phase: "clean-up",
        meaning: "every resource of the sandbox is gone",
    },
];

/// Clocks that may be seen at the same instant as the first output and still
/// come after it.
const AFTER_OUTPUT: [&str; 2] = ["exit_observed", "released"];

/// The time between two clocks of one start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase<'a> {
    /// Name of the clock it ends with.
    pub clock: &'a str,
    /// Position in [`CLOCKS`]; unknown clocks come after them.
    pub order: usize,
    /// Its length.
    pub nanoseconds: u64,
    /// It is part of the start: it ends no later than the first output.
    pub before_output: bool,
}

impl Phase<'_> {
    /// Its name for a reader.
    pub fn title(&self) -> &str {
        CLOCKS.get(self.order).map_or(self.clock, |clock| clock.phase)
    }
}

/// The phases of one start: they add up to the last clock exactly.
pub fn phases(clocks_ns: &BTreeMap<String, u64>) -> Vec<Phase<'_>> {
    let first_output = clocks_ns.get(FIRST_OUTPUT).copied();
    let mut instants: Vec<(u64, usize, &str)> = clocks_ns
        .iter()
        .filter(|(name, _)| name.as_str() != "request")
        .map(|(name, at)| (*at, order(name), name.as_str()))
        .collect();
    // By time; clocks seen at the same instant in their usual order.
    instants.sort_unstable();
    let mut previous = clocks_ns.get("request").copied().unwrap_or(0);
    let mut phases = Vec::with_capacity(instants.len());
    for (at, order, clock) in instants {
        phases.push(Phase {
            clock,
            order,
            nanoseconds: at.saturating_sub(previous),
            before_output: first_output.is_none_or(|output| at <= output)
                && !AFTER_OUTPUT.contains(&clock),
        });
        previous = previous.max(at);
    }
    phases
}

fn order(name: &str) -> usize {
    CLOCKS.iter().position(|clock| clock.name == name).unwrap_or(CLOCKS.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks(instants: &[(&str, u64)]) -> BTreeMap<String, u64> {
        instants.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect()
    }

    #[test]
    fn phases_come_in_the_order_they_happened() {
        let clocks = clocks(&[
            ("request", 0),
            ("released", 1_200),
            ("first_output", 900),
            ("rootfs_ready", 100),
            ("sandbox_created", 100),
            ("something_new", 500),
        ]);
        let phases = phases(&clocks);
        let names: Vec<&str> = phases.iter().map(Phase::title).collect();
        assert_eq!(
            names,
            ["root filesystem", "sandbox", "something_new", "first output", "clean-up"]
        );
        assert_eq!(
            phases.iter().map(|p| p.nanoseconds).collect::<Vec<_>>(),
            [100, 0, 400, 400, 300]
        );
        let before: Vec<bool> = phases.iter().map(|p| p.before_output).collect();
        assert_eq!(before, [true, true, true, true, false]);
    }

    proptest::proptest! {
        #[test]
        fn phases_add_up_to_the_last_clock(
            instants in proptest::collection::btree_map("[a-z_]{1,12}", 0_u64..1 << 40, 0..9)
        ) {
            let mut clocks = instants;
            clocks.insert("request".to_owned(), 0);
            let sum: u64 = phases(&clocks).iter().map(|phase| phase.nanoseconds).sum();
            proptest::prop_assert_eq!(Some(sum), clocks.values().max().copied());
        }
    }
}
