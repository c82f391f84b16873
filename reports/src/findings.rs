//! What the figures say, in a handful of sentences: made from the results alone,
//! and calling a difference only what the harness calls one.

use crate::clocks::START_METRIC;
use crate::isolation::score;
use crate::operations::is_control;
use crate::overview::{chief_memory, way};
use crate::schema::{Fit, Ratio, Start};
use crate::units::{many, times};
use crate::view::{
    BOOT, NOT_DISTINGUISHABLE, SYSCALLS, TOO_FEW, View, Wall, apart, doubt, is_within_noise,
    median, slope,
};
use crate::ways::ways;

/// When a difference is called one, for the reader of the sentences.
pub const RULE: &str = "A difference is called one only where the permutation test gives \
    p < 0.05, the 95 % interval of the ratio (in brackets) excludes 1, and the ratio is farther \
    from 1 than the noise floor. Slopes differ where their intervals are apart.";

/// The sentences for which there are figures.
pub fn sentences(view: &View<'_>) -> Vec<String> {
    let walls = Chosen::of(view);
    let said = [
        starts(view, &walls),
        other_starts(view, &walls),
        without_a_boot(view),
        memory(view, &walls),
        clones(view),
        kernel(view, &walls),
        computing(view, &walls),
        isolation(view, &walls),
    ];
    said.into_iter().flatten().collect()
}

/// The runtimes the sentences are about: the first of each kind.
struct Chosen<'v, 'a> {
    baseline: Option<&'v Wall<'a>>,
    /// The first container and the first microVM, where they are not the baseline.
    walls: Vec<&'v Wall<'a>>,
    /// All others that are started cold.
    others: Vec<&'v Wall<'a>>,
}

impl<'v, 'a> Chosen<'v, 'a> {
    fn of(view: &'v View<'a>) -> Self {
        let baseline = view.walls.first();
        let cold: Vec<&Wall<'a>> =
            view.walls.iter().skip(1).filter(|wall| wall.start() == Start::Cold).collect();
        let first = |kind| cold.iter().copied().find(|wall| is_a(wall, kind));
        let walls: Vec<&Wall<'a>> =
            ["container", "microvm"].into_iter().filter_map(first).collect();
        let chosen = |wall: &&Wall<'a>| walls.iter().any(|known| known.name == wall.name);
        let others = cold.iter().copied().filter(|wall| !chosen(wall)).collect();
        Self { baseline, walls, others }
    }
}

fn is_a(wall: &Wall<'_>, kind: &str) -> bool {
    wall.info.map_or(wall.name, |info| info.isolation.as_str()) == kind
}

/// Start times of the chosen ones, each beside the one before it.
fn starts(view: &View<'_>, chosen: &Chosen<'_, '_>) -> Option<String> {
    let baseline = chosen.baseline?;
    let mut said =
        vec![format!("{} in {}", baseline.label, median(view.start(baseline.name)?))];
    let mut below = baseline;
    for wall in &chosen.walls {
        let Some(cell) = view.start(wall.name) else { continue };
        let ratio = view.between(BOOT, START_METRIC, wall.name, below.name);
        let beside = ratio.map(|r| format!(" ({})", view.compared(&r))).unwrap_or_default();
        said.push(format!("{} in {}{beside}", wall.label, median(cell)));
        below = wall;
    }
    (said.len() > 1).then(|| format!("Starting to first output: {}.", said.join("; ")))
}

/// The other runtimes beside the chosen one of their kind.
fn other_starts(view: &View<'_>, chosen: &Chosen<'_, '_>) -> Option<String> {
    let of = |wall: &&Wall<'_>| {
        let same = |other: &&&Wall<'_>| {
            other.info.map(|i| &i.isolation) == wall.info.map(|i| &i.isolation)
        };
        let beside = chosen.walls.iter().find(same)?;
        let ratio = view.between(BOOT, START_METRIC, wall.name, beside.name)?;
        Some(format!("{} takes {}", wall.label, view.compared(&ratio)))
    };
    let said: Vec<String> = chosen.others.iter().filter_map(of).collect();
    (!said.is_empty()).then(|| format!("The same start elsewhere: {}.", said.join("; ")))
}

/// Starts that are not cold.
fn without_a_boot(view: &View<'_>) -> Option<String> {
    let said: Vec<String> = ways(view)
        .iter()
        .filter_map(|way| {
            let (cell, ratio) = (way.start?, way.of_cold.as_ref()?);
            let compared = view.compared(ratio);
            Some(format!("{} in {} ({compared})", way.wall.label, median(cell)))
        })
        .collect();
    (!said.is_empty()).then(|| format!("Without starting from nothing: {}.", said.join("; ")))
}

/// What a further sandbox keeps.
fn memory(view: &View<'_>, chosen: &Chosen<'_, '_>) -> Option<String> {
    let (metric, _) = chief_memory(view);
    let all = chosen.baseline.into_iter().chain(chosen.walls.iter().copied());
    let mut below: Option<(&Wall<'_>, &Fit)> = None;
    let mut said = Vec::new();
    let mut missing = Vec::new();
    for wall in all {
        let Some(fit) = view.fit(wall.name, metric) else {
            missing.push(wall.label.clone());
            continue;
        };
        let beside =
            below.map(|(other, cheap)| format!(" ({})", self::beside(fit, other, cheap)));
        said.push(format!("{} {}{}", wall.label, slope(fit), beside.unwrap_or_default()));
        below = Some((wall, fit));
    }
    let unknown = if missing.is_empty() || said.is_empty() {
        String::new()
    } else {
        format!("; no slope for {}, of which too few were alive at once", missing.join(", "))
    };
    let about = way(metric);
    (!said.is_empty())
        .then(|| format!("Keeping one more idle, {about}: {}{unknown}.", said.join("; ")))
}

/// What a further one keeps that was not started from nothing.
fn clones(view: &View<'_>) -> Option<String> {
    let (metric, _) = chief_memory(view);
    let said: Vec<String> = ways(view)
        .iter()
        .filter_map(|way| {
            let (cold, fit) = (way.cold?, view.fit(way.wall.name, metric)?);
            let beside = beside(fit, cold, view.fit(cold.name, metric)?);
            Some(format!("{} {} ({beside})", way.wall.label, slope(fit)))
        })
        .collect();
    (!said.is_empty()).then(|| {
        format!("One more that was not started from nothing keeps: {}.", said.join("; "))
    })
}

/// A slope beside another: a factor only where their intervals are apart.
fn beside(fit: &Fit, other: &Wall<'_>, cheap: &Fit) -> String {
    if apart(fit, cheap) && !is_within_noise(fit) && !is_within_noise(cheap) {
        format!("{} {}", times(fit.slope / cheap.slope), other.label)
    } else {
        format!("{NOT_DISTINGUISHABLE} from {}", other.label)
    }
}

/// In how many operations each wall's kernel is dearer than the baseline's.
fn kernel(view: &View<'_>, chosen: &Chosen<'_, '_>) -> Option<String> {
    let said: Vec<String> = chosen
        .walls
        .iter()
        .filter_map(|wall| {
            let ratios = against(view, chosen.baseline?, wall, |name| !is_control(name));
            let (total, told) = (ratios.len(), told_apart(&ratios));
            let dearest = told.iter().max_by(|a, b| a.ratio.total_cmp(&b.ratio));
            let most =
                dearest.map(|r| format!(", {} by the most: {}", r.metric, view.compared(r)));
            let few = ratios.iter().filter(|ratio| doubt(ratio) == Some(TOO_FEW)).count();
            let few = match few {
                0 => String::new(),
                some => format!(" ({TOO_FEW} in {})", many(some)),
            };
            (total > 0).then(|| {
                let most = most.unwrap_or_default();
                format!("{} in {} of {}{few}{most}", wall.label, many(told.len()), many(total))
            })
        })
        .collect();
    (!said.is_empty()).then(|| {
        format!(
            "Calling the kernel differs from the baseline behind {}.",
            said.join("; behind ")
        )
    })
}

/// Whether work without the kernel costs the same.
fn computing(view: &View<'_>, chosen: &Chosen<'_, '_>) -> Option<String> {
    let pure = |name: &str| is_control(name) && name.starts_with("cpu_");
    let baseline = chosen.baseline?;
    let all: Vec<&Ratio> =
        chosen.walls.iter().flat_map(|wall| against(view, baseline, wall, pure)).collect();
    let told = told_apart(&all);
    let decided = all.iter().filter(|ratio| doubt(ratio) != Some(TOO_FEW)).count();
    if all.is_empty() {
        return None;
    }
    let differs: Vec<String> = told
        .iter()
        .map(|r| format!("{} {} {}", view.label(&r.runtime), r.metric, view.compared(r)))
        .collect();
    let verdict = if differs.is_empty() {
        format!("none of {} comparisons is a difference", many(decided))
    } else {
        format!(
            "{} of {} comparisons differ: {}",
            differs.len(),
            many(decided),
            differs.join("; ")
        )
    };
    Some(format!(
        "Computing without the kernel, the control that should not differ: {verdict}."
    ))
}

/// What gets out, and what is asked of the host.
fn isolation(view: &View<'_>, chosen: &Chosen<'_, '_>) -> Option<String> {
    let all = || chosen.baseline.into_iter().chain(chosen.walls.iter().copied());
    let reached: Vec<String> = all()
        .filter_map(|wall| {
            let score = score(view, wall.name)?;
            Some(format!("{} of {} from {}", score.reached.len(), score.made, wall.label))
        })
        .collect();
    let asked: Vec<String> = all()
        .filter_map(|wall| {
            let surface = view.results.surfaces.iter().find(|s| s.runtime == wall.name)?;
            Some(format!("{} {}", wall.label, many(surface.system_calls.len())))
        })
        .collect();
    let reached = (!reached.is_empty())
        .then(|| format!("Attempts that reach the host: {}", reached.join(", ")));
    let asked = (!asked.is_empty())
        .then(|| format!("different system calls made on the host: {}", asked.join(", ")));
    let said: Vec<String> = [reached, asked].into_iter().flatten().collect();
    (!said.is_empty()).then(|| format!("{}.", said.join("; ")))
}

/// The comparisons of a wall's operations with the baseline's.
fn against<'a>(
    view: &View<'a>,
    baseline: &Wall<'_>,
    wall: &Wall<'_>,
    which: impl Fn(&str) -> bool,
) -> Vec<&'a Ratio> {
    view.operations()
        .into_iter()
        .filter(|operation| which(operation))
        .filter_map(|operation| {
            let ratios = view.ratios(SYSCALLS, operation, wall.name);
            ratios.into_iter().find(|r| r.baseline == baseline.name && r.ratio.is_finite())
        })
        .collect()
}

fn told_apart<'r>(ratios: &[&'r Ratio]) -> Vec<&'r Ratio> {
    ratios.iter().copied().filter(|ratio| doubt(ratio).is_none()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use crate::schema::Results;

    fn said(results: &Results) -> Vec<String> {
        let view = View::new(results);
        sentences(&view).into_iter().map(|s| s.replace('\u{a0}', " ")).collect()
    }

    #[test]
    fn a_full_run_says_what_each_wall_costs_and_buys() {
        let said = said(&sample::rich());
        let expected = [
            "Starting to first output: native in 900 µs [873, 936]; container in 3.10 ms",
            "The same start elsewhere: crun takes 2.06× container",
            "Keeping one more idle, host memory: native 205 KiB [197, 215]; container 512 KiB",
            "Calling the kernel differs from the baseline behind container in 6 of 6",
            "Computing without the kernel, the control that should not differ: none of 4",
            "Attempts that reach the host: 13 of 16 from native, 1 of 17 from container",
        ];
        assert_eq!(said.len(), expected.len(), "{said:#?}");
        for (sentence, expected) in said.iter().zip(expected) {
            assert!(sentence.starts_with(expected), "{sentence}");
        }
        assert!(said[0].contains("microvm † in 5.20 s [5.04, 5.41] (1,677× container"));
        assert!(said[5].ends_with("native 62, container 58, microvm † 24."), "{}", said[5]);
    }

    #[test]
    fn what_is_not_a_difference_is_not_called_one() {
        let mut results = sample::rich();
        for ratio in &mut results.ratios {
            ratio.distinguishable = false;
        }
        for fit in &mut results.fits {
            (fit.slope, fit.slope_low, fit.slope_high) = (5e5, 4e5, 6e5);
        }
        let said = said(&results);
        assert!(
            said[0].contains("not distinguishable") && said[1].contains("not distinguishable")
        );
        assert!(
            said[2].contains("container 488 KiB [391, 586] (not distinguishable from native)")
        );
        assert!(
            said[3].contains("container in 0 of 6; behind microvm † in 0 of 6"),
            "{}",
            said[3]
        );
    }

    #[test]
    fn other_ways_of_starting_have_their_sentence() {
        let said = said(&sample::warm());
        let found = said.iter().find(|s| s.starts_with("Without starting")).unwrap();
        assert!(found.contains("container-warm in 1.40 ms"), "{found}");
        assert!(found.contains("microvm-warm † in 312 ms"), "{found}");
        let kept = said.iter().find(|s| s.starts_with("One more that was not")).unwrap();
        assert!(
            kept.contains("microvm-warm † 2.50 MiB [2.40, 2.62] (0.179× microvm †)"),
            "{kept}"
        );
        let pool = said.iter().filter(|s| s.contains("microvm-pool"));
        assert_eq!(pool.count(), 2, "and in no other sentence");
    }

    #[test]
    fn nothing_measured_says_nothing() {
        let mut results = sample::results();
        results.cells.clear();
        results.ratios.clear();
        results.fits.clear();
        assert!(said(&results).is_empty());
    }
}
