//! The profile of a host's virtualisation, for a person.

use std::fmt::Write;

use crate::schema::{Host, ProfileFigure, VirtualisationKind, VirtualisationProfile};
use crate::tables::{self, Table};
use crate::terminal::grid;
use crate::units::{Unit, number};
use crate::view::printable;

/// What each figure is, in the order they are shown.
const FIGURES: [(&str, &str); 9] = [
    ("vm_create", "make an empty VM"),
    ("vcpu_create", "make its virtual processor"),
    ("first_entry", "first entry, up to the first exit"),
    ("pio_exit", "port access answered by the monitor"),
    ("mmio_exit", "device register answered by the monitor"),
    ("cpuid_exit", "CPUID answered by the kernel"),
    ("halt_wake", "from an interrupt to a halted guest running"),
    ("ring0_rate", "instructions of a guest's kernel"),
    ("ring3_rate", "instructions of a guest's programs"),
];

/// What the figure called `name` is; nothing for one that is not known.
pub(crate) fn meaning(name: &str) -> &'static str {
    FIGURES.iter().find(|(known, _)| *known == name).map_or("", |(_, meaning)| meaning)
}

/// The badge of a host: what stands beside every figure of a microVM from it.
#[must_use]
pub fn badge(kind: VirtualisationKind) -> &'static str {
    match kind {
        VirtualisationKind::Hardware => "hardware KVM",
        VirtualisationKind::Nested => "nested KVM: exits are dear",
        VirtualisationKind::Emulated => "software KVM: guest kernel code is emulated",
        VirtualisationKind::Unknown => "KVM of unknown kind",
    }
}

/// The profile in a terminal: the badge, why, every figure, and the guess by the
/// module's name for comparison.
#[must_use]
pub fn text(profile: &VirtualisationProfile, host: &Host) -> String {
    let mut out = format!("{}, measured\n", badge(profile.kind));
    for reason in &profile.reasons {
        let _ = writeln!(out, "  {}", printable(reason));
    }
    let guess = host.kvm.as_ref().map_or("none", |kvm| kvm.flavour.as_str());
    let _ = writeln!(out, "  by the module's name it would be: {}\n", printable(guess));
    for line in grid(&table(profile)).lines() {
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

/// Every figure with its interval.
#[must_use]
pub fn table(profile: &VirtualisationProfile) -> Table {
    let mut table = Table::new([
        tables::words("On a bare virtual processor"),
        tables::figures("Median"),
        tables::figures("95 % interval"),
        tables::figures("Samples"),
    ]);
    for figure in &profile.figures {
        let meaning = match meaning(&figure.name) {
            "" => printable(&figure.name),
            known => known.to_owned(),
        };
        let (median, interval) = shown(figure);
        let samples = figure.samples.len().to_string();
        table.rows.push([meaning, median, interval, samples].map(tables::plain).into());
    }
    table
}

fn shown(figure: &ProfileFigure) -> (String, String) {
    if figure.unit == "instructions/s" {
        let (factor, symbol) = if figure.median >= 1e9 { (1e9, "G/s") } else { (1e6, "M/s") };
        let [median, low, high] =
            [figure.median, figure.low, figure.high].map(|value| number(value / factor));
        return (format!("{median}\u{a0}{symbol}"), format!("[{low}, {high}]"));
    }
    let measured = Unit::named(&figure.unit).measured(figure.median, figure.low, figure.high);
    (measured.value, measured.interval.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn a_profile_is_readable() {
        let figure = |name: &str, unit: &str, median: f64| ProfileFigure {
            name: name.to_owned(),
            unit: unit.to_owned(),
            samples: vec![median; 7],
            median,
            low: median * 0.9,
            high: median * 1.1,
        };
        let profile = VirtualisationProfile {
            kind: VirtualisationKind::Emulated,
            reasons: vec!["ring 0 is slow".to_owned()],
            figures: vec![
                figure("pio_exit", "ns", 8_300.0),
                figure("ring0_rate", "instructions/s", 1.1e6),
                figure("ring3_rate", "instructions/s", 2.7e9),
                figure("unheard_of", "ns", 5.0),
            ],
        };
        let text = text(&profile, &sample::results().host).replace('\u{a0}', " ");
        for part in [
            "software KVM",
            "ring 0 is slow",
            "kvm_pvm",
            "8.30 µs",
            "[7.47, 9.13]",
            "1.10 M/s",
            "2.70 G/s",
            "unheard_of",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
    }
}
