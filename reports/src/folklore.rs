//! What people say about containers and virtual machines, and what this run says
//! about it: one function for each saying, each ending in a verdict and the
//! figure it rests on.

mod walls;

use std::cmp::Ordering;

use crate::clocks::{RESUMED_METRIC, START_METRIC};
use crate::isolation::{Score, score};
use crate::schema::{AttemptOutcome, Fit, Start};
use crate::units::{Unit, many, rounded, times};
use crate::view::{BOOT, View, Wall, doubt, slope, steeper};
use crate::ways::ways;

/// The kernel is called "natively" up to this many times the native cost. Ours:
/// half as much again is more than noise, and less than anybody notices.
const NEAR_NATIVE: f64 = 1.5;

/// Memory is "no more" within this factor of another, for the same reason.
const NO_MORE: f64 = 1.1;

/// The way of measuring memory that leaves nothing out.
const HOST_MEMORY: &str = "host memory";

/// What the evidence says of a saying.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is so here.
    Confirmed,
    /// It is not so here.
    Refuted,
    /// This run on this host cannot tell.
    Undecided,
}

impl Verdict {
    /// In words.
    pub fn word(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Refuted => "refuted",
            Self::Undecided => "not decidable on this host",
        }
    }

    /// Chooses its colour.
    pub fn class(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Refuted => "refuted",
            Self::Undecided => "undecided",
        }
    }
}

/// One saying, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What people say.
    pub saying: &'static str,
    /// Whether it is so.
    pub verdict: Verdict,
    /// The figure.
    pub figure: String,
    /// Section with the chart or table the figure is from, where there is one.
    pub anchor: Option<&'static str>,
}

/// The two walls a saying is about: ours where they took part, as the first of
/// their kind.
struct Walls<'v, 'a> {
    view: &'v View<'a>,
    native: Option<&'v Wall<'a>>,
    container: Option<&'v Wall<'a>>,
    microvm: Option<&'v Wall<'a>>,
}

type Judged = (Verdict, String);

/// A saying, its section and the rule that judges it.
type Saying = (&'static str, &'static str, fn(&Walls<'_, '_>) -> Option<Judged>);

const SAYINGS: [Saying; 10] = [
    ("Containers start faster than virtual machines.", "start", starts_faster),
    (
        "A container takes no more memory than any other executable.",
        "memory",
        no_more_than_an_executable,
    ),
    ("A virtual machine carries a guest OS and is resource-intensive.", "memory", intensive),
    ("Containers have native access to the kernel.", "kernel", native_access),
    (
        "Virtual machines have only virtual access, through a hypervisor.",
        "kernel",
        virtual_access,
    ),
    (
        "A container is isolated from the host by default and reaches only what it was given.",
        "isolation",
        isolated_by_default,
    ),
    (
        "Containers isolate on the level of processes, virtual machines on that of machines.",
        "isolation",
        level_of_isolation,
    ),
    ("Containers are ephemeral, virtual machines persistent.", "workloads", |_| None),
    ("The same image runs the same everywhere.", "host", runs_the_same),
    ("Containers give the higher density.", "memory", higher_density),
];

/// The saying that a run without warm starts says nothing about.
const HAS_TO_BOOT: Saying =
    ("A virtual machine has to boot before it can begin to work.", "warm", has_to_boot);

/// Every saying with its verdict.
pub fn rows(view: &View<'_>) -> Vec<Row> {
    let first = |kind: &str| {
        view.walls.iter().find(|wall| match wall.info {
            Some(info) => {
                info.isolation == kind
                    && info.unavailable.is_empty()
                    && info.start == Start::Cold
            }
            None => wall.name == kind,
        })
    };
    let walls = Walls {
        view,
        native: first("native"),
        container: first("container"),
        microvm: first("microvm"),
    };
    let mut rows: Vec<Row> = SAYINGS
        .iter()
        .map(|&(saying, anchor, judge)| match judge(&walls) {
            Some((verdict, figure)) => Row { saying, verdict, figure, anchor: Some(anchor) },
            None => {
                let figure = "nothing in this run measured it".to_owned();
                Row { saying, verdict: Verdict::Undecided, figure, anchor: None }
            }
        })
        .collect();
    // Only a run that started one in another way has anything to say about it.
    let (saying, anchor, judge) = HAS_TO_BOOT;
    if let Some((verdict, figure)) = judge(&walls) {
        rows.insert(1, Row { saying, verdict, figure, anchor: Some(anchor) });
    }
    rows
}

/// How fast a virtual machine starts when it does not boot.
fn has_to_boot(walls: &Walls<'_, '_>) -> Option<Judged> {
    let (view, microvm) = (walls.view, walls.microvm?);
    let mine = ways(view).into_iter().filter(|way| way.wall.runtime() == microvm.name);
    let other = mine.filter_map(|way| Some((way.start?, way.of_cold?, way.wall)));
    let (start, of_cold, wall) =
        other.min_by(|(a, ..), (b, ..)| a.median.total_cmp(&b.median))?;
    let resumed = view.cell(BOOT, RESUMED_METRIC, wall.name).map(|cell| {
        format!("; its virtual processor runs again after {}", crate::view::median(cell))
    });
    let beside = walls.container.and_then(|container| {
        let ratio = view.between(BOOT, START_METRIC, wall.name, container.name)?;
        Some(format!("; that is {}", view.compared(&ratio)))
    });
    let figure = format!(
        "{} starts in {}, {}{}{}",
        wall.label,
        crate::view::median(start),
        view.compared(&of_cold),
        resumed.unwrap_or_default(),
        beside.unwrap_or_default()
    );
    let verdict = match (of_cold.distinguishable, of_cold.ratio < 1.0) {
        (true, true) => Verdict::Refuted,
        (true, false) => Verdict::Confirmed,
        (false, _) => Verdict::Undecided,
    };
    Some((verdict, figure))
}

fn starts_faster(walls: &Walls<'_, '_>) -> Option<Judged> {
    let (container, microvm) = (walls.container?, walls.microvm?);
    let view = walls.view;
    let (fast, slow) = (view.start(container.name)?, view.start(microvm.name)?);
    let figure = format!(
        "{} starts in {}, {} in {}: {}",
        container.label,
        Unit::Nanoseconds.show(fast.median),
        microvm.label,
        Unit::Nanoseconds.show(slow.median),
        times(slow.median / fast.median)
    );
    let ratio = view.between(BOOT, START_METRIC, microvm.name, container.name)?;
    if let Some(doubt) = doubt(&ratio) {
        return Some((Verdict::Undecided, format!("{figure}, {doubt}")));
    }
    if slow.median < fast.median {
        return Some((Verdict::Refuted, figure));
    }
    Some(walls.unless_emulated(Verdict::Confirmed, figure))
}

fn no_more_than_an_executable(walls: &Walls<'_, '_>) -> Option<Judged> {
    let (container, native) = (walls.container?, walls.native?);
    let (ours, plain, way) = walls.slopes(container, native)?;
    // What the kernel keeps for a bare process is in no cgroup's account.
    let kernel = walls.kernel_memory(container).filter(|_| way != HOST_MEMORY);
    let besides = kernel.map_or_else(String::new, |bytes| {
        let bytes = Unit::Bytes.show(bytes);
        format!("; besides, its cgroup is charged {bytes} of kernel memory; natively nobody counts it")
    });
    let figure = format!("{} each, {} natively ({way}){besides}", slope(ours), slope(plain));
    let verdict = if steeper(ours, plain) == Some(Ordering::Greater) {
        Verdict::Refuted
    } else if ours.slope_high + kernel.unwrap_or(0.0) <= plain.slope * NO_MORE {
        Verdict::Confirmed
    } else {
        Verdict::Undecided
    };
    Some((verdict, figure))
}

fn intensive(walls: &Walls<'_, '_>) -> Option<Judged> {
    let (dear, cheap, way) = walls.slopes(walls.microvm?, walls.container?)?;
    let figure = format!(
        "{} for each idle microVM, {} for each container ({way})",
        slope(dear),
        slope(cheap)
    );
    Some((heavier(dear, cheap), figure))
}

fn higher_density(walls: &Walls<'_, '_>) -> Option<Judged> {
    let (dear, cheap, way) = walls.slopes(walls.microvm?, walls.container?)?;
    let in_a_gibibyte = |fit: &Fit| rounded((1_073_741_824.0 / fit.slope).floor());
    if dear.slope <= 0.0 || cheap.slope <= 0.0 {
        return None;
    }
    let figure = format!(
        "1 GiB holds {} idle containers or {} idle microVMs, by the slopes ({way})",
        in_a_gibibyte(cheap),
        in_a_gibibyte(dear)
    );
    Some((heavier(dear, cheap), figure))
}

/// The first slope is above the second, as far as their intervals tell.
fn heavier(dear: &Fit, cheap: &Fit) -> Verdict {
    match steeper(dear, cheap) {
        Some(Ordering::Greater) => Verdict::Confirmed,
        Some(Ordering::Less) => Verdict::Refuted,
        Some(Ordering::Equal) | None => Verdict::Undecided,
    }
}

fn native_access(walls: &Walls<'_, '_>) -> Option<Judged> {
    let (middle, figure) = walls.kernel_factors(walls.container?)?;
    let verdict = if middle <= NEAR_NATIVE { Verdict::Confirmed } else { Verdict::Refuted };
    Some((verdict, figure))
}

fn virtual_access(walls: &Walls<'_, '_>) -> Option<Judged> {
    let (middle, figure) = walls.kernel_factors(walls.microvm?)?;
    let verdict = if middle <= NEAR_NATIVE { Verdict::Refuted } else { Verdict::Confirmed };
    Some(walls.unless_emulated(verdict, figure))
}

fn isolated_by_default(walls: &Walls<'_, '_>) -> Option<Judged> {
    let container = walls.container?;
    let score = score(walls.view, container.name)?;
    let verdict = if score.reached.is_empty() { Verdict::Confirmed } else { Verdict::Refuted };
    Some((verdict, format!("{}: {}", container.label, said(&score))))
}

fn level_of_isolation(walls: &Walls<'_, '_>) -> Option<Judged> {
    let (container, microvm) = (walls.container?, walls.microvm?);
    let view = walls.view;
    let (shared, own) = (score(view, container.name)?, score(view, microvm.name)?);
    let stopped_inside = |name: &str| {
        crate::isolation::of(view, name, container.name).is_some_and(|attempt| {
            matches!(attempt.outcome, AttemptOutcome::Refused | AttemptOutcome::Limited)
        })
    };
    let freed = own.contained.iter().filter(|name| stopped_inside(name)).count();
    let figure = format!(
        "{freed} of {} attempts that the container's shared kernel stops are let through by the \
         microVM's own, against itself; {} reach the host from the microVM, {} from the container",
        own.made,
        own.reached.len(),
        shared.reached.len()
    );
    let verdict = if own.reached.len() > shared.reached.len() {
        Verdict::Refuted
    } else if freed > 0 {
        Verdict::Confirmed
    } else {
        Verdict::Undecided
    };
    Some((verdict, figure))
}

fn runs_the_same(walls: &Walls<'_, '_>) -> Option<Judged> {
    let results = walls.view.results;
    let names = crate::view::distinct(results.boot.iter().map(|s| s.runtime.as_str()));
    let expected = results.boot.first()?.exit_code;
    if names.len() < 2 {
        return None;
    }
    let differs = results.outcomes.first().and_then(|first| {
        let other = results.outcomes.iter().find(|outcome| !outcome.agrees_with(first))?;
        Some([&first.runtime, &other.runtime].map(|name| walls.view.label(name)))
    });
    if let Some([one, two]) = differs {
        let figure = format!("the user's own command ends or writes differently: {one}, {two}");
        return Some((Verdict::Refuted, figure));
    }
    let other = results.boot.iter().find(|sample| sample.exit_code != expected);
    let starts = many(results.boot.len());
    Some(match other {
        None => {
            let figure = format!(
                "{starts} starts of one image behind {} runtimes, each with exit code {expected}",
                names.len()
            );
            (Verdict::Confirmed, figure)
        }
        Some(sample) => {
            let runtime = walls.view.label(&sample.runtime);
            let figure =
                format!("{runtime} ended with exit code {}, not {expected}", sample.exit_code);
            (Verdict::Refuted, figure)
        }
    })
}

fn said(score: &Score<'_>) -> String {
    let names: Vec<String> =
        score.reached.iter().map(|name| crate::tables::spaced(name)).collect();
    let which =
        if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
    format!("{} of {} attempts reached the host{which}", score.reached.len(), score.made)
}

#[cfg(test)]
mod tests;
