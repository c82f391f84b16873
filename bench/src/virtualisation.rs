//! What kind of KVM a host has, told from what a bare virtual processor costs on
//! it.
//!
//! The samples come from whoever can run such a processor; this module knows no
//! KVM. The module behind `/dev/kvm` is not asked either: its name is a guess
//! about a host, and this is a measurement.

use bulkhead_reports::schema::{ProfileFigure, VirtualisationKind, VirtualisationProfile};
use bulkhead_reports::units::{Unit, number};
use rand::SeedableRng;

use crate::statistics::{Generator, Interval, median, median_interval};

/// Samples of one thing, or why there are none.
#[derive(Debug, Clone, PartialEq)]
pub struct RawFigure {
    /// As in [`ProfileFigure::name`].
    pub name: String,
    /// As in [`ProfileFigure::unit`].
    pub unit: String,
    /// The samples.
    pub samples: Result<Vec<f64>, String>,
}

/// From this ratio of the two on, ring 0 is emulated.
///
/// A processor that runs guest code runs the same loop equally fast in both
/// rings: the ratio is 1. An emulator takes hundreds of its own instructions for
/// each one of the guest's: the ratio is in the hundreds at the least. The
/// threshold is where neither noise nor a fast emulator reaches.
const EMULATED_RATIO: f64 = 20.0;
/// Up to this ratio, both rings run on the processor: twice the 1 to be expected,
/// for a loop of a few milliseconds that another process interrupts.
const SAME_RATIO: f64 = 2.0;
/// Up to this, an exit answered in the kernel has one hypervisor below it, in
/// ns. Leaving and entering a guest takes some thousand cycles on the slowest
/// processor with VT-x and under a thousand on present ones, and KVM's answer to
/// CPUID a few hundred: 1 µs at 3 GHz, 2 µs with mitigations or at half the clock.
const HARDWARE_EXIT_NS: f64 = 3_000.0;
/// From this on it has two, in ns: the outer one takes every exit, hands it to the
/// inner one, and takes each privileged step of that one's answer as an exit
/// again (Ben-Yehuda et al., *The Turtles Project*, OSDI 2010: exit multiplication), so
/// that one becomes many.
const NESTED_EXIT_NS: f64 = 5_000.0;

/// The figures the kind of KVM is told from.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Evidence {
    /// Instructions a second in ring 0.
    pub ring0_rate: Option<f64>,
    /// Instructions a second in ring 3.
    pub ring3_rate: Option<f64>,
    /// An exit that the kernel answers, ns.
    pub cpuid_exit_ns: Option<f64>,
}

/// One line of the table: what is asked of the figures, and what a yes means.
struct Sign {
    kind: VirtualisationKind,
    holds: fn(&Figures) -> bool,
    meaning: &'static str,
}

/// The evidence, complete.
struct Figures {
    ratio: f64,
    cpuid_exit_ns: f64,
}

/// The first that holds decides.
const SIGNS: [Sign; 3] = [
    Sign {
        kind: VirtualisationKind::Emulated,
        holds: |it| it.ratio >= EMULATED_RATIO,
        meaning: "software executes the instructions of ring 0",
    },
    Sign {
        kind: VirtualisationKind::Hardware,
        holds: |it| it.ratio <= SAME_RATIO && it.cpuid_exit_ns <= HARDWARE_EXIT_NS,
        meaning: "the processor executes both rings, and an exit is as cheap as with one \
                  hypervisor",
    },
    Sign {
        kind: VirtualisationKind::Nested,
        holds: |it| it.ratio <= SAME_RATIO && it.cpuid_exit_ns >= NESTED_EXIT_NS,
        meaning: "the processor executes both rings, and an exit is as dear as with a second \
                  hypervisor below",
    },
];

/// Tells the kind of KVM, and why, a sentence each.
#[must_use]
pub fn classify(evidence: Evidence) -> (VirtualisationKind, Vec<String>) {
    let Evidence { ring0_rate: Some(ring0), ring3_rate: Some(ring3), cpuid_exit_ns } = evidence
    else {
        let reason = "the two rings could not be compared".to_owned();
        return (VirtualisationKind::Unknown, vec![reason]);
    };
    let ratio = ring3 / ring0;
    let mut reasons = vec![format!(
        "the same loop runs at {} instructions/s in ring 0 and at {} in ring 3, {}× as fast",
        rate(ring0),
        rate(ring3),
        number(ratio),
    )];
    // An emulator has no exits that could be compared.
    let exit = cpuid_exit_ns.unwrap_or(f64::NAN);
    if ratio.is_nan() || ratio < EMULATED_RATIO {
        reasons.push(match cpuid_exit_ns {
            Some(exit) => {
                format!(
                    "an exit that the kernel answers takes {}",
                    Unit::Nanoseconds.show(exit)
                )
            }
            None => "an exit that the kernel answers could not be measured".to_owned(),
        });
    }
    let figures = Figures { ratio, cpuid_exit_ns: exit };
    let sign = SIGNS.iter().find(|sign| (sign.holds)(&figures));
    let (kind, meaning) = sign.map_or(
        (VirtualisationKind::Unknown, "the figures fit no kind of KVM known"),
        |sign| (sign.kind, sign.meaning),
    );
    reasons.push(meaning.to_owned());
    (kind, reasons)
}

/// `1.24 M`, `2.8 G`: instructions a second are counted in powers of ten.
fn rate(per_second: f64) -> String {
    let (factor, symbol) = if per_second >= 1e9 {
        (1e9, " G")
    } else if per_second >= 1e6 {
        (1e6, " M")
    } else {
        (1.0, "")
    };
    number(per_second / factor) + symbol
}

/// A profile with its medians, their intervals (resampled from `seed`), and the
/// kind of KVM they show.
#[must_use]
pub fn profile(raw: &[RawFigure], seed: u64) -> VirtualisationProfile {
    let generator = &mut Generator::seed_from_u64(seed);
    let mut figures = Vec::new();
    let mut failures = Vec::new();
    for figure in raw {
        match &figure.samples {
            Ok(samples) => figures.extend(summarise(figure, samples, generator)),
            Err(error) => failures.push(format!("{} was not measured: {error}", figure.name)),
        }
    }
    let found = |name: &str| figures.iter().find(|f| f.name == name).map(|f| f.median);
    let (kind, mut reasons) = classify(Evidence {
        ring0_rate: found("ring0_rate"),
        ring3_rate: found("ring3_rate"),
        cpuid_exit_ns: found("cpuid_exit"),
    });
    reasons.extend(failures);
    VirtualisationProfile { kind, reasons, figures }
}

fn summarise(
    figure: &RawFigure,
    samples: &[f64],
    generator: &mut Generator,
) -> Option<ProfileFigure> {
    let none = Interval { low: f64::NAN, high: f64::NAN };
    let interval = median_interval(samples, generator).unwrap_or(none);
    Some(ProfileFigure {
        name: figure.name.clone(),
        unit: figure.unit.clone(),
        samples: samples.to_vec(),
        median: median(samples)?,
        low: interval.low,
        high: interval.high,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kind(ring0: f64, ring3: f64, exit: f64) -> VirtualisationKind {
        let evidence = Evidence {
            ring0_rate: Some(ring0),
            ring3_rate: Some(ring3),
            cpuid_exit_ns: Some(exit),
        };
        classify(evidence).0
    }

    #[test]
    fn each_kind_by_its_figures() {
        use VirtualisationKind::{Emulated, Hardware, Nested, Unknown};
        let table = [
            // Instructions/s in ring 0 and in ring 3, ns of an exit.
            (6.0e9, 6.0e9, 450.0, Hardware),
            (3.0e9, 3.3e9, 1_900.0, Hardware),
            (5.0e9, 5.1e9, 12_000.0, Nested),
            (5.0e9, 5.1e9, 60_000.0, Nested),
            // A slow machine or a fast nest: not told by guessing.
            (5.0e9, 5.1e9, 4_000.0, Unknown),
            (1.1e6, 2.7e9, 900.0, Emulated),
            (9.0e7, 2.7e9, 900.0, Emulated),
            // Slower in ring 0 than noise makes it, faster than an emulator.
            (1.0e9, 5.0e9, 500.0, Unknown),
        ];
        for (ring0, ring3, exit, expected) in table {
            assert_eq!(kind(ring0, ring3, exit), expected, "{ring0} {ring3} {exit}");
        }
    }

    #[test]
    fn reasons_name_the_figures() {
        let evidence =
            Evidence { ring0_rate: Some(1.25e6), ring3_rate: Some(2.5e9), cpuid_exit_ns: None };
        let (kind, reasons) = classify(evidence);
        assert_eq!(kind, VirtualisationKind::Emulated);
        let text = reasons.join("\n").replace('\u{a0}', " ");
        for part in ["1.25 M", "2.50 G", "2,000×", "software executes"] {
            assert!(text.contains(part), "{part:?} is missing in {text}");
        }
    }

    #[test]
    fn without_figures_nothing_is_claimed() {
        assert_eq!(classify(Evidence::default()).0, VirtualisationKind::Unknown);
        let without_exit =
            Evidence { ring0_rate: Some(1e9), ring3_rate: Some(1e9), cpuid_exit_ns: None };
        assert_eq!(classify(without_exit).0, VirtualisationKind::Unknown);
        assert_eq!(kind(f64::NAN, 1e9, 500.0), VirtualisationKind::Unknown);
        assert_eq!(kind(0.0, 0.0, 500.0), VirtualisationKind::Unknown);
    }

    #[test]
    fn a_profile_has_medians_and_says_what_failed() {
        let raw = |name: &str, samples| RawFigure {
            name: name.to_owned(),
            unit: "ns".to_owned(),
            samples,
        };
        let figures = [
            raw("vm_create", Ok(vec![3.0, 1.0, 2.0, 5.0, 4.0, 6.0, 7.0])),
            raw("halt_wake", Err("nobody woke".to_owned())),
            raw("pio_exit", Ok(vec![])),
        ];
        let profile = profile(&figures, 1);
        let [vm] = &profile.figures[..] else { panic!("{:?}", profile.figures) };
        assert_eq!((vm.median, vm.samples.len()), (4.0, 7));
        assert!(vm.low <= 4.0 && 4.0 <= vm.high);
        assert!(profile.reasons.iter().any(|reason| reason.contains("nobody woke")));
    }

    proptest! {
        #[test]
        fn a_dearer_exit_never_makes_hardware_of_a_nest(
            ring0 in 1e6..1e10, ring3 in 1e6..1e10, exit in 1.0..1e6, more in 1.0..1e6
        ) {
            let (before, after) = (kind(ring0, ring3, exit), kind(ring0, ring3, exit + more));
            let hardware = VirtualisationKind::Hardware;
            prop_assert!(before == hardware || after != hardware);
            let emulated = VirtualisationKind::Emulated;
            prop_assert_eq!(before == emulated, after == emulated);
        }
    }
}
