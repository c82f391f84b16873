//! The workloads that have no section of their own, in words. A results file may
//! name others: they are shown by name.

use crate::tables::spaced;

const TITLES: [(&str, &str); 9] = [
    ("storm", "Start storm"),
    ("files", "Files"),
    ("memory", "Memory bandwidth"),
    ("bandwidth", "Memory bandwidth"),
    ("memory_bandwidth", "Memory bandwidth"),
    ("exec", "Exec into a running sandbox"),
    ("teardown", "Teardown"),
    ("cpu", "Computing"),
    ("custom", "Your own command"),
];

/// Title of a workload's section.
pub fn title(name: &str) -> String {
    let known = TITLES.iter().find(|(known, _)| *known == name);
    known.map_or_else(|| spaced(name), |(_, title)| (*title).to_owned())
}
