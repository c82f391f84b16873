//! One attempt as the host sees it, while what the attempt got hold of is held.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bulkhead_probe::report::{Ending, Report};
use bulkhead_runtime::HostProcess;

use super::bait::Bait;
use super::observe;
use super::witness::{Answers, Counts, Witness};
use crate::sandbox::SampleError;

use super::session::Session;

/// The sandbox before an attempt.
pub struct Before {
    descriptors: BTreeMap<String, usize>,
    user_namespaces: BTreeSet<String>,
    modules: String,
    counts: Counts,
}

impl Before {
    /// Looks now.
    pub fn look(session: &Session<'_>, witness: Option<&Witness>) -> Result<Self, SampleError> {
        let family = family(session)?;
        Ok(Self {
            descriptors: descriptors(&family),
            user_namespaces: observe::user_namespaces(&family),
            modules: modules(),
            counts: witness.map(Witness::counts).unwrap_or_default(),
        })
    }
}

/// An attempt, made and not yet let go.
pub struct Scene<'a> {
    /// What it was to reach.
    pub bait: &'a mut Bait,
    /// The sandbox has a kernel of its own.
    pub private_kernel: bool,
    /// The sandbox's processes on the host.
    pub family: Vec<i32>,
    /// What the probe said.
    pub report: Report,
    before: Before,
    /// System calls of the sandbox's processes up to now, if a witness watched.
    counts: Option<Counts>,
}

impl<'a> Scene<'a> {
    /// Looks again, after the attempt.
    pub fn look(
        before: Before,
        report: Report,
        session: &Session<'_>,
        witness: Option<&Witness>,
        private_kernel: bool,
        bait: &'a mut Bait,
    ) -> Result<Self, SampleError> {
        let counts = witness.map(Witness::counts);
        Ok(Self { bait, private_kernel, family: family(session)?, report, before, counts })
    }

    /// What the probe says it got hold of.
    pub fn says(&self) -> Option<&str> {
        match &self.report.ending {
            Ending::Succeeded { says } => Some(says),
            _ => None,
        }
    }

    /// What a process of the sandbox has a new descriptor for.
    pub fn new_descriptor(&self, prefix: &str) -> Option<String> {
        let now = descriptors(&self.family);
        let more = now.into_iter().find(|(link, count)| {
            link.starts_with(prefix)
                && *count > self.before.descriptors.get(link).copied().unwrap_or(0)
        });
        more.map(|(link, _)| link)
    }

    /// A user namespace of the sandbox's that was not there before.
    pub fn new_user_namespace(&self) -> Option<String> {
        let now = observe::user_namespaces(&self.family);
        now.difference(&self.before.user_namespaces).next().cloned()
    }

    /// Whether the host has other modules than before.
    pub fn modules_changed(&self) -> bool {
        modules() != self.before.modules
    }

    /// What the host's kernel answered the sandbox during the attempt.
    pub fn answers(&self, calls: &[&str]) -> Option<Answers> {
        Some(self.counts.as_ref()?.answers(&self.before.counts, calls))
    }

    /// What the probe said, as a phrase.
    pub fn inside(&self) -> String {
        inside(&self.report)
    }
}

/// What a report says, as a phrase.
pub fn inside(report: &Report) -> String {
    match &report.ending {
        Ending::Succeeded { says } => says.clone(),
        Ending::Failed { errno: 0 } => "it failed".to_owned(),
        Ending::Failed { errno } => io::Error::from_raw_os_error(*errno).to_string(),
        Ending::Killed { signal } => format!("signal {signal} ended it"),
    }
}

/// The sandbox's processes on the host with their descendants.
pub fn family(session: &Session<'_>) -> Result<Vec<i32>, SampleError> {
    let processes = session.processes()?;
    let pids: Vec<i32> = processes.iter().map(|HostProcess { pid, .. }| *pid).collect();
    Ok(observe::family(&pids))
}

fn descriptors(family: &[i32]) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for link in family.iter().flat_map(|&pid| observe::descriptors(pid)) {
        *counted.entry(link).or_default() += 1;
    }
    counted
}

/// The names of loaded modules; their use counts come and go.
fn modules() -> String {
    let text = observe::text("/proc/modules");
    text.lines().filter_map(|line| line.split(' ').next()).collect::<Vec<_>>().join(" ")
}
