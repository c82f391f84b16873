//! The workloads that have no section of their own, in words. A results file may
//! name others: they are shown by name.

use crate::tables::spaced;

/// The workload that starts many sandboxes at once.
pub const STORM: &str = "storm";

const TITLES: [(&str, &str); 5] = [
    (STORM, "Start storm"),
    ("files", "Files"),
    ("compute", "Computing and memory bandwidth"),
    ("lifecycle", "A running sandbox: exec, end and teardown"),
    ("custom", "Your own command"),
];

/// Title of a workload's section.
pub fn title(name: &str) -> String {
    let known = TITLES.iter().find(|(known, _)| *known == name);
    known.map_or_else(|| spaced(name), |(_, title)| (*title).to_owned())
}
