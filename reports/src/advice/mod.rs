//! Which wall for a workload, and why.
//!
//! Needs and evidence in, advice out: nothing is measured here. The rules are a
//! table (`rules.rs`); this module only weighs what they find.

mod evidence;
mod needs;
mod rules;
#[cfg(test)]
mod tests;

use std::fmt::Write;

use serde::Serialize;

pub use evidence::Evidence;
pub use needs::{Needs, NeedsError, Trust};
pub use rules::{RULES, Rule};

/// A wall that can be advised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Wall {
    /// Namespaces on the host's kernel.
    Container,
    /// A kernel of its own.
    MicroVm,
}

impl Wall {
    /// Its name for a reader.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::MicroVm => "microVM",
        }
    }
}

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// It is said, and decides nothing.
    None,
    /// It decides where nothing else does.
    Slight,
    /// It outweighs a slight one.
    Strong,
    /// The other wall cannot serve.
    Must,
}

impl Weight {
    fn points(self) -> i32 {
        match self {
            Self::None => 0,
            Self::Slight => 1,
            Self::Strong | Self::Must => 2,
        }
    }
}

/// What a finding rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// How the walls are built.
    Principle,
    /// Figures of this host.
    Measured,
    /// Nothing that was measured on this host: weak.
    Missing,
}

/// What one rule found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The wall it speaks for; none when it makes no difference.
    pub favours: Option<Wall>,
    /// How much.
    pub weight: Weight,
    /// What it rests on.
    pub basis: Basis,
    /// Neither wall meets the need.
    pub unmet: bool,
    /// Why, with the figures.
    pub because: String,
}

impl Finding {
    fn new(wall: Wall, weight: Weight, basis: Basis, because: impl Into<String>) -> Self {
        Self { favours: Some(wall), weight, basis, unmet: false, because: because.into() }
    }

    fn neutral(basis: Basis, because: impl Into<String>) -> Self {
        let because = because.into();
        Self { favours: None, weight: Weight::None, basis, unmet: false, because }
    }

    fn unmet(because: String) -> Self {
        Self { unmet: true, ..Self::neutral(Basis::Measured, because) }
    }
}

/// A finding and the rule it is by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// Name of the rule.
    pub rule: &'static str,
    /// What it found.
    #[serde(flatten)]
    pub finding: Finding,
}

/// Which wall, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Advice {
    /// The wall.
    pub wall: Wall,
    /// The evidence is weak: another host, or one more figure, may change it.
    pub weak: bool,
    /// Every finding, the deciding one first.
    pub reasons: Vec<Reason>,
    /// Needs that this wall does not meet.
    pub unmet: Vec<String>,
    /// What the figures do not say.
    pub caveats: Vec<String>,
    /// The needs it is for.
    pub needs: Needs,
}

/// Advises a wall for a workload.
#[must_use]
pub fn advise(needs: &Needs, evidence: &Evidence<'_>) -> Advice {
    let mut reasons: Vec<Reason> = RULES
        .iter()
        .filter_map(|rule| {
            Some(Reason { rule: rule.name, finding: (rule.judge)(needs, evidence)? })
        })
        .collect();
    let (wall, margin) = weigh(&reasons);
    let mut unmet: Vec<String> = Vec::new();
    for Reason { finding, .. } in &reasons {
        let against = finding.weight == Weight::Must && finding.favours != Some(wall);
        if finding.unmet || against {
            unmet.push(finding.because.clone());
        }
    }
    // What speaks for the wall, the weightiest first; then what speaks against it.
    reasons.sort_by_key(|reason| {
        let finding = &reason.finding;
        (finding.favours != Some(wall), std::cmp::Reverse(finding.weight))
    });
    let rests_on = reasons.first().map(|reason| &reason.finding);
    let firm = rests_on.is_some_and(|finding| {
        finding.favours == Some(wall)
            && finding.basis != Basis::Missing
            && (finding.weight == Weight::Must || margin >= Weight::Strong.points())
    });
    let weak = !firm || !unmet.is_empty();
    let caveats = caveats(evidence);
    Advice { wall, weak, reasons, unmet, caveats, needs: needs.clone() }
}

/// The wall, and by how much: the first demand decides, then the sum of the weights,
/// then that a container is cheaper.
fn weigh(reasons: &[Reason]) -> (Wall, i32) {
    let demanded = reasons.iter().find(|reason| reason.finding.weight == Weight::Must);
    if let Some(wall) = demanded.and_then(|reason| reason.finding.favours) {
        return (wall, Weight::Must.points());
    }
    let points = |wall| -> i32 {
        let of_wall = reasons.iter().filter(|reason| reason.finding.favours == Some(wall));
        of_wall.map(|reason| reason.finding.weight.points()).sum()
    };
    let margin = points(Wall::MicroVm) - points(Wall::Container);
    if margin > 0 { (Wall::MicroVm, margin) } else { (Wall::Container, -margin) }
}

fn caveats(evidence: &Evidence<'_>) -> Vec<String> {
    let mut caveats = Vec::new();
    let run = "`bulkhead bench` measures this host";
    match (evidence.results, evidence.own_results()) {
        (None, _) => caveats.push(format!("there are no results to rest on: {run}")),
        (Some(other), None) => caveats.push(format!(
            "the last results are of another host, or of another kernel ({}, Linux {}), and \
             were not used: {run}",
            crate::view::printable(&other.host.cpu_model),
            crate::view::printable(&other.host.kernel),
        )),
        (_, Some(own)) if own.run.partial => {
            caveats.push("the last run was interrupted: some figures are missing".to_owned());
        }
        (_, Some(_)) => {}
    }
    if evidence.emulated() {
        caveats.push(
            "this host's KVM emulates guest kernel code: its microVM figures hold here, and \
             say nothing about hosts with hardware virtualisation; ask again there"
                .to_owned(),
        );
    }
    caveats
}

impl Advice {
    /// The wall and the reason that decided, on one line.
    #[must_use]
    pub fn one_line(&self) -> String {
        let deciding = self.reasons.first().map(|reason| &reason.finding);
        let because = match deciding.filter(|finding| finding.favours == Some(self.wall)) {
            Some(finding) => finding.because.as_str(),
            None => "nothing speaks against it, and it is the cheaper wall",
        };
        let weak = if self.weak { " (weak evidence)" } else { "" };
        format!("{}{weak}: {because}", self.wall.as_str())
    }

    /// The whole advice for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let weak = if self.weak { ", on weak evidence" } else { "" };
        let mut out = format!("Take a {}{weak}.\n", self.wall.as_str());
        let other = match self.wall {
            Wall::Container => Wall::MicroVm,
            Wall::MicroVm => Wall::Container,
        };
        for (title, wall) in [
            (format!("For the {}", self.wall.as_str()), Some(self.wall)),
            (format!("For the {}", other.as_str()), Some(other)),
            ("Makes no difference".to_owned(), None),
        ] {
            let of_wall = self.reasons.iter().filter(|it| it.finding.favours == wall);
            let lines = of_wall.map(|reason| {
                let basis = match reason.finding.basis {
                    Basis::Missing => " [not measured]",
                    Basis::Measured | Basis::Principle => "",
                };
                format!("{}{basis}", reason.finding.because)
            });
            section(&mut out, &title, lines);
        }
        section(&mut out, "Not met by it", self.unmet.iter().cloned());
        section(&mut out, "To know", self.caveats.iter().cloned());
        out
    }
}

fn section(out: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    for (index, line) in lines.enumerate() {
        if index == 0 {
            let _ = writeln!(out, "\n{title}:");
        }
        let _ = writeln!(out, "  - {line}");
    }
}
