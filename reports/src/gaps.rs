//! What was asked for and not measured: each reason told once, however many
//! workloads it cost, and short, with what a guest's console said kept apart.

use crate::view::{View, printable};

/// Stands for every workload of a runtime that could not take part.
const EVERYTHING: &str = "everything";

/// Something that is missing from the results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The runtime, for the reader.
    pub runtime: String,
    /// The workloads or operations that are missing.
    pub workloads: Vec<String>,
    /// Why: the first line of the reason.
    pub reason: String,
    /// The other lines, as they are but for control characters.
    pub detail: String,
}

impl Gap {
    /// The workloads in one line.
    pub fn what(&self) -> String {
        self.workloads.join(", ")
    }

    /// The reason in one line that stands alone.
    pub fn why(&self) -> String {
        if self.detail.is_empty() {
            self.reason.clone()
        } else {
            format!("{} …", self.reason)
        }
    }
}

/// All that is missing, runtimes that could not take part first.
pub fn gaps(view: &View<'_>) -> Vec<Gap> {
    let absent = view.results.runtimes.iter().flat_map(|runtime| {
        runtime.unavailable.iter().map(|reason| (&runtime.name, EVERYTHING, reason))
    });
    let omitted =
        view.results.omitted.iter().map(|o| (&o.runtime, o.workload.as_str(), &o.reason));
    let mut gaps: Vec<Gap> = Vec::new();
    for (runtime, workload, reason) in absent.chain(omitted) {
        let runtime = view.label(runtime);
        let (reason, detail) = split(reason);
        let workload = printable(workload);
        let same = |gap: &&mut Gap| gap.runtime == runtime && gap.reason == reason;
        match gaps.iter_mut().find(same) {
            Some(gap) if gap.workloads.iter().any(|w| w == EVERYTHING || *w == workload) => {}
            Some(gap) => gap.workloads.push(workload),
            None => gaps.push(Gap { runtime, workloads: vec![workload], reason, detail }),
        }
    }
    gaps
}

fn split(reason: &str) -> (String, String) {
    let mut lines = reason.trim().lines().map(printable);
    let first = lines.next().unwrap_or_default();
    (first, lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use crate::schema::Omission;

    fn omission(workload: &str, reason: &str) -> Omission {
        Omission {
            workload: workload.to_owned(),
            runtime: "microvm".to_owned(),
            reason: reason.to_owned(),
        }
    }

    #[test]
    fn one_reason_is_told_once() {
        let mut results = sample::results();
        let reason = "/dev/kvm is missing";
        results.omitted =
            ["boot", "density", "boot"].map(|workload| omission(workload, reason)).to_vec();
        let told = gaps(&View::new(&results));
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].what(), "boot, density");
        assert_eq!(told[0].why(), reason);

        results.runtimes[2].unavailable = vec![reason.to_owned()];
        let told = gaps(&View::new(&results));
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].what(), EVERYTHING);
    }

    #[test]
    fn a_console_is_kept_apart_from_the_reason() {
        let mut results = sample::results();
        results.omitted = vec![
            omission(
                "boot",
                "the guest failed, last messages:\n  Run /init\x1b[0m\n  panic at 1",
            ),
            omission("density", "the guest failed, last messages:\n  Run /init\n  panic at 2"),
        ];
        let told = gaps(&View::new(&results));
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].why(), "the guest failed, last messages: …");
        assert_eq!(told[0].detail, "  Run /init [0m\n  panic at 1");
        assert_eq!(told[0].what(), "boot, density");
    }
}
