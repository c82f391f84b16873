//! What a report says about how its figures were made: captions and appendix.

/// Under the start-time table and chart.
pub const START: &str = "From the request for a sandbox to the first byte of output of the \
    program in it, on the host's monotonic clock. Warm-ups are not counted; nothing is dropped.";

/// Under a table of summaries.
pub const SUMMARY: &str = "n: samples counted. p90 and p99: printed where n supports them. MAD: median \
    absolute deviation. Outliers: beyond Tukey's fences, counted, never dropped. p: two-sided \
    permutation test. In brackets: 95 % bootstrap intervals.";

/// Under the phases.
pub const PHASES: &str = "The phases of one start, the one in the middle of each runtime's \
    starts, so that they add up; medians of phases would not.";

/// Under the ways of starting.
pub const WARM: &str = "The same runtime started in other ways. Cold: from nothing, a microVM boots. \
    Warm: from what was prepared once for many, a microVM is restored from a snapshot. Pool: the \
    sandbox was there and waited. Preparing is not part of the start.";

/// Under the chart of parts of a cold start.
pub const OF_COLD: &str = "Ratio of median start times to the same runtime's cold start, with its \
    95 % interval, on a logarithmic axis; hollow where the two are not told apart.";

/// Under the memory of sandboxes started in other ways.
pub const BY_WAY: &str = "Slopes over rising numbers of idle sandboxes with their 95 % intervals: \
    memory of the host, proportional set size (PSS) of the processes, and the part of it that no \
    other process maps.";

/// Under the chart of private and shared memory.
pub const PRIVATE: &str = "PSS of one sandbox with the most of them alive, mean of the repetitions: \
    strong, what no other process maps; pale, its share of what several map, which shrinks with \
    every further one.";

/// Under the density chart.
pub const MEMORY: &str = "Memory for each further idle sandbox: the slope of a straight line \
    through samples at rising numbers of sandboxes, measured in two independent ways: by what the \
    host has left (MemAvailable), and by the proportional set size (PSS) of the sandboxes' own \
    processes, which is their private pages and their share of those they have in common.";

/// Under the charts of memory.
pub const LINES: &str = "A dot is one reading with that many alive; a line is a least-squares fit, \
    drawn as far as it was measured. Slopes with 95 % intervals (Student's t) are in the table. \
    What the host has left also moves for other reasons: a slope whose interval includes zero is \
    said not to be told from it.";

/// Under the split of memory.
pub const SPLIT: &str = "Proportional set size for each sandbox by process, at the largest \
    number of sandboxes, mean of the repetitions; kernel memory as charged to the cgroup.";

/// Under the operations.
pub const OPERATIONS: &str = "The same static program, the same bytes, in every runtime. \
    Medians with their 95 % interval, and below them the ratio to the baseline.";

/// Under the isolation matrix.
pub const ISOLATION: &str = "Attempts made by a real program from inside each wall. The outcome is \
    what the host saw, never what the inside said.";

/// Under the host surface.
pub const SURFACE: &str = "The system calls that a sandbox's own processes made on the host's \
    kernel while the same workload ran: of a container the workload's own, of a microVM its \
    monitor's. The fewer, the less of the host's kernel can be attacked.";

/// Under the further workloads.
pub const WORKLOADS: &str = "Medians with their 95 % interval, and below them the ratio to the \
    baseline. Where it says speed (MiB/s), the larger figure is the better one.";

/// Under a chart of ratios.
pub const RATIOS: &str = "A dot is the ratio of medians to the baseline's, the line through it its \
    95 % interval, on a logarithmic axis; hollow where the two are not told apart.";

/// Under the chart of start storms.
pub const STORM: &str = "Time from the first request until the last of them has written its first \
    byte: median, and its 95 % interval where there are enough storms for one, on two logarithmic \
    axes. A line that rises by as much as the \
    number does means that the starts wait for each other.";

/// Under the noise floor.
pub const NOISE: &str = "One runtime takes part in every block twice and is compared with itself \
    (A/A). What shows here is the harness and the host, not a wall: a difference below the floor \
    is called not distinguishable.";

/// Under the effort.
pub const EFFORT: &str = "How far each workload got, what it took, and what ended it. A block has \
    every runtime at least once.";

/// Under the folklore.
pub const FOLKLORE: &str = "What is said about containers and virtual machines, beside the figure \
    this run has for it. A verdict is about this host and this version, not about all of them.";

/// Under the figures of the bare virtual processor.
pub const VIRTUALISATION: &str = "A few dozen bytes of code on a virtual processor without any \
    operating system: what this host's KVM costs before a guest is involved.";

/// Under KVM's counters by phase.
pub const BY_PHASE: &str = "What KVM counted in each phase of a microVM's start. An exit leaves the \
    guest and comes back; an emulated instruction is one that the processor did not run itself.";

/// Under the outcomes of a user's own command.
pub const OUTCOMES: &str = "The same command in every runtime: its exit code, and whether it wrote \
    the same bytes.";

/// Under KVM's counters.
pub const COUNTERS: &str = "KVM's own statistics at the end of each microVM's median start; \
    counters at zero are left out.";

/// Under what was left out.
pub const OMITTED: &str = "Asked for and not measured.";

/// On a partial run.
pub const PARTIAL: &str = "It was interrupted: the figures are of the samples finished until \
    then, fewer than were planned.";

/// One habit of the harness.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    /// In two or three words.
    pub title: &'static str,
    /// In a sentence or two.
    pub text: &'static str,
}

/// The method in short.
pub const POINTS: [Point; 9] = [
    Point {
        title: "Interleaved.",
        text: "Every block runs every runtime, fast ones several times, in an order drawn anew from \
               the recorded seed, so that a slow minute of the machine falls on all alike.",
    },
    Point {
        title: "Named clocks.",
        text: "Every instant is read on the host's CLOCK_MONOTONIC. What happens inside a guest \
               is timed when the host sees it; guest clocks are never mixed in.",
    },
    Point {
        title: "Intervals.",
        text: "In brackets: the 95 % bootstrap interval of the median, of the ratio of medians, \
               or of a slope. Ratios have a two-sided permutation test (p).",
    },
    Point {
        title: "Not distinguishable.",
        text: "Said of two runtimes whose difference is within what chance or the harness's own \
               noise produces. It does not mean that they are equal.",
    },
    Point {
        title: "Outliers.",
        text: "Counted by Tukey's fences and shown, never dropped. MAD is the median absolute \
               deviation. Percentiles that n does not support are not printed.",
    },
    Point {
        title: "Memory, twice.",
        text: "Once from the fall of MemAvailable on the host, once from the proportional set \
               size of every process that belongs to a sandbox. Where the two disagree, both are \
               shown.",
    },
    Point {
        title: "A/A.",
        text: "One runtime takes part in every block twice. What difference it shows to itself is the \
               noise floor; a difference between two runtimes below it is not called one.",
    },
    Point {
        title: "Isolation.",
        text: "Each attempt is a program in the sandbox and an observer on the host. Bombs run \
               under limits and a watchdog. An attempt that was not made is not counted as stopped.",
    },
    Point {
        title: "One host.",
        text: "All figures are of the machine described here. They are comparable with each \
               other, and with another report only as far as its host is.",
    },
];
