//! How much is measured.

use std::time::Duration;

/// How many interleaved blocks a workload measures.
///
/// A block runs every runtime at least once. Blocks are added while they fit
/// into the budget of time: a host where a microVM boots in 100 ms gets many, one
/// where it takes 10 s gets the fewest that still support an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// Blocks that are run first and not counted.
    pub warm_up: u32,
    /// Counted blocks to measure even beyond the budget, as long as that does
    /// not take twice the budget.
    pub min: u32,
    /// Counted blocks after which it is enough.
    pub max: u32,
    /// Time for all of them, warm-up included.
    pub budget: Duration,
    /// Most starts of one runtime in one block. A runtime much faster than the
    /// slowest is started several times in each block, which makes its intervals
    /// narrow and costs next to nothing.
    pub max_weight: u32,
}

/// What bounds a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Extent {
    /// What the profile says.
    #[default]
    Profile,
    /// Exactly this many counted blocks of every workload that has blocks,
    /// however long they take.
    Blocks(u32),
    /// This much time, spent where figures are least certain.
    Time(Duration),
}

/// How far the number of idle sandboxes rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ladder {
    /// Times the whole ladder is climbed with each runtime.
    pub repetitions: u32,
    /// Most sandboxes alive at once; they double from one rung to the next.
    pub max: u32,
    /// Time for one climb: a rung is left out when it would take longer.
    pub budget: Duration,
    /// How long memory is left alone before it is read.
    pub settle: Duration,
    /// `MemAvailable` below which no further sandbox is started, bytes.
    pub reserve_bytes: u64,
}

/// How many sandboxes are started at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storms {
    /// Climbs: 1 at once, 2, 4, ….
    pub climbs: Blocks,
    /// Most at once.
    pub max: u32,
    /// Time for one climb: a rung is left out when it would take longer.
    pub budget: Duration,
}

/// How much is measured in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// Name in the results.
    pub name: &'static str,
    /// Starts for the boot workload.
    pub boot: Blocks,
    /// Pause before each start for the boot workload. Without one, a host that
    /// has just removed the last sandbox is still busy for the next: joining a
    /// cgroup then costs a fraction of what it costs a user who starts one.
    pub idle_before_start: Duration,
    /// Idle sandboxes for the density workload.
    pub density: Ladder,
    /// Starts of the probe for the syscalls workload.
    pub syscalls: Blocks,
    /// Sandboxes for every workload that asks for nothing special.
    pub further: Blocks,
    /// Sandboxes started at once for the storm workload.
    pub storm: Storms,
    /// Slice of time for each operation of the probe, milliseconds.
    pub operation_budget_ms: u32,
    /// When a sandbox counts as hung.
    pub sandbox_timeout: Duration,
}

const MIB: u64 = 1 << 20;

impl Profile {
    /// With exactly `count` counted blocks wherever there are blocks.
    #[must_use]
    pub fn with_blocks(mut self, count: u32) -> Self {
        let Self { boot, syscalls, further, storm, .. } = &mut self;
        for blocks in [boot, syscalls, further, &mut storm.climbs] {
            *blocks = Blocks { min: count, max: count, budget: Duration::MAX, ..*blocks };
        }
        self
    }

    /// Answers a newcomer's question: under 12 minutes even where a microVM takes
    /// 10 s to boot, a minute or two where it takes 100 ms.
    ///
    /// With a microVM that boots in 10 s: 13 starts for `boot`, two climbs to 8 for
    /// `density`, 6 runs for `syscalls`.
    pub const DEFAULT: Self = Self {
        name: "default",
        boot: Blocks {
            warm_up: 1,
            min: 12,
            max: 100,
            budget: Duration::from_secs(110),
            max_weight: 20,
        },
        idle_before_start: Duration::from_millis(60),
        density: Ladder {
            repetitions: 2,
            max: 64,
            budget: Duration::from_secs(60),
            settle: Duration::from_millis(500),
            reserve_bytes: 512 * MIB,
        },
        syscalls: Blocks {
            warm_up: 0,
            min: 6,
            max: 30,
            budget: Duration::from_secs(100),
            max_weight: 4,
        },
        further: Blocks {
            warm_up: 0,
            min: 6,
            max: 30,
            budget: Duration::from_secs(45),
            max_weight: 4,
        },
        storm: Storms {
            climbs: Blocks {
                warm_up: 0,
                min: 2,
                max: 10,
                budget: Duration::from_secs(40),
                max_weight: 4,
            },
            max: 16,
            budget: Duration::from_secs(35),
        },
        operation_budget_ms: 20,
        sandbox_timeout: Duration::from_secs(120),
    };

    /// For publishing: narrower intervals, in under 40 minutes on the same host, with two
    /// more OCI runtimes and every way of starting our own.
    pub const FULL: Self = Self {
        name: "full",
        boot: Blocks {
            warm_up: 3,
            min: 30,
            max: 500,
            budget: Duration::from_secs(400),
            max_weight: 20,
        },
        density: Ladder {
            repetitions: 3,
            max: 128,
            // Enough for 32 that take a second each.
            budget: Duration::from_secs(60),
            settle: Duration::from_secs(2),
            ..Self::DEFAULT.density
        },
        syscalls: Blocks {
            warm_up: 1,
            min: 10,
            max: 100,
            budget: Duration::from_secs(240),
            max_weight: 4,
        },
        further: Blocks {
            warm_up: 1,
            min: 8,
            max: 60,
            budget: Duration::from_secs(120),
            max_weight: 4,
        },
        storm: Storms {
            climbs: Blocks {
                warm_up: 0,
                min: 3,
                max: 20,
                budget: Duration::from_secs(100),
                max_weight: 4,
            },
            max: 32,
            budget: Duration::from_secs(60),
        },
        operation_budget_ms: 50,
        ..Self::DEFAULT
    };
}
