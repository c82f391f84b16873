//! `index.html`: the report as one file that needs nothing else: no network, no
//! fonts, no scripts. The raw results travel inside it.

mod sections;

use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::agreement::Agreement;
use crate::badge;
use crate::findings;
use crate::folklore;
use crate::gaps::{Gap, gaps};
use crate::glance::{Glance, glance};
use crate::method::{self, Point};
use crate::overview::{Question, questions};
use crate::schema::{Results, Start};
use crate::tables::{self, Table};
use crate::units::elapsed;
use crate::view::{EMULATED, MARK, View, host_in_short, printable};
use sections::{
    Effort, Evidence, Findings, Machine, Memory, Noise, Phases, Price, Starts, Warm, Workload,
};

/// The page; the template says where each part goes.
#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    style: &'static str,
    host: String,
    run: String,
    badge: String,
    kvm_state: &'static str,
    warning: Option<&'static str>,
    partial: Option<&'static str>,
    /// Whether a user's own command did the same everywhere.
    outcome: Option<String>,
    questions: Vec<Question>,
    glance: Glance,
    findings: Option<Findings>,
    /// Colour and name of every runtime: it has one, however it is started.
    series: Vec<(usize, String)>,
    starts: Option<Starts>,
    warm: Option<Warm>,
    phases: Option<Phases>,
    price: Option<Price>,
    memory: Option<Memory>,
    operations: Option<Workload>,
    /// Figures of many runtimes need narrower columns.
    crowded: bool,
    evidence: Option<Evidence>,
    workloads: Vec<Workload>,
    outcomes: Table,
    noise: Option<Noise>,
    effort: Option<Effort>,
    folklore: Vec<folklore::Row>,
    gaps: Vec<Gap>,
    machine: Machine,
    every_cell: Table,
    every_ratio: Table,
    points: &'static [Point],
    data: String,
    tool_version: String,
}

impl Page {
    fn operations_class(&self) -> &'static str {
        if self.crowded { "operations crowded" } else { "operations" }
    }
}

/// The report as one HTML page.
#[must_use]
pub fn render(results: &Results) -> String {
    #[expect(clippy::expect_used, reason = "writing to a String and escaping cannot fail")]
    page(results).render().expect("the template has no fallible filters")
}

fn page(results: &Results) -> Page {
    let view = View::new(results);
    let (host, run) = (&results.host, &results.run);
    let questions = questions(&view);
    let outcome = (!results.outcomes.is_empty()).then(|| Agreement::of(results).to_string());
    Page {
        style: include_str!("../templates/report.css"),
        host: host_in_short(host),
        run: format!("{} · {}", printable(&run.started), elapsed(run.duration_seconds)),
        badge: badge::text(results),
        kvm_state: badge::state(results),
        warning: view.emulated().then_some(EMULATED),
        partial: run.partial.then_some(method::PARTIAL),
        outcome,
        glance: glance(&questions),
        questions,
        findings: Findings::of(&view),
        series: colours(&view),
        starts: Starts::of(&view),
        warm: Warm::of(&view),
        phases: Phases::of(&view),
        price: Price::of(&view),
        memory: Memory::of(&view),
        operations: Workload::operations(&view),
        crowded: view.walls.len() > 4,
        evidence: Evidence::of(&view),
        workloads: Workload::further(&view),
        outcomes: tables::outcomes(&view),
        noise: Noise::of(&view),
        effort: Effort::of(&view),
        folklore: folklore::rows(&view),
        gaps: gaps(&view),
        machine: Machine::of(&view),
        every_cell: tables::every_cell(&view),
        every_ratio: tables::every_ratio(&view),
        points: &method::POINTS,
        data: data_uri(results),
        tool_version: printable(&run.tool_version),
    }
}

fn colours(view: &View<'_>) -> Vec<(usize, String)> {
    let cold = view.walls.iter().filter(|wall| wall.start() == Start::Cold);
    cold.map(|wall| (wall.series % 8, wall.label.clone())).collect()
}

/// The results themselves, as a link that downloads them.
fn data_uri(results: &Results) -> String {
    let json = serde_json::to_vec(results).unwrap_or_default();
    format!("data:application/json;base64,{}", STANDARD.encode(json))
}

/// `text` with everything that HTML would take for markup escaped.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
