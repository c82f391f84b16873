//! `index.html`: the report as one file that needs nothing else: no network, no
//! fonts, no scripts. The raw results travel inside it.

use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::agreement::Agreement;
use crate::badge;
use crate::charts::{
    Figure, ecdf, memory, phases, price, ratios, split, storm, strip, surface, ways,
};
use crate::effort;
use crate::findings;
use crate::folklore;
use crate::gaps::{Gap, gaps};
use crate::glance::{Glance, glance};
use crate::isolation::{Matrix, matrix};
use crate::kvm;
use crate::method::{self, Point};
use crate::overview::{Question, questions};
use crate::schema::Results;
use crate::tables::{self, Table};
use crate::units::elapsed;
use crate::view::{EMULATED, MARK, SYSCALLS, View, host_in_short, printable};
use crate::workloads;

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
    questions: Vec<Question>,
    glance: Glance,
    findings: Vec<String>,
    series: Vec<(usize, String)>,
    strip: Option<Figure>,
    logarithmic: bool,
    distributions: Vec<String>,
    starts: Table,
    phases: Option<Figure>,
    phase_legend: Vec<(usize, &'static str, &'static str)>,
    phase_table: Table,
    warm: Option<Warm>,
    price: Option<Price>,
    memory: Vec<String>,
    split: Option<Figure>,
    memory_table: Table,
    memory_split: Table,
    ratios: Option<Figure>,
    operations: Table,
    /// Figures of many runtimes need narrower columns.
    crowded: bool,
    evidence: Evidence,
    workloads: Vec<Workload>,
    outcomes: Table,
    effort: Effort,
    agreement: Option<String>,
    outcome: Option<String>,
    noise: Option<Figure>,
    noise_table: Table,
    folklore: Vec<folklore::Row>,
    gaps: Vec<Gap>,
    runtimes: Table,
    host_table: Table,
    reasons: Vec<String>,
    virtualisation: Table,
    run_table: Table,
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

/// Starts that are not cold.
struct Warm {
    chart: Option<Figure>,
    starts: Table,
    memory: Table,
}

/// What KVM counted.
struct Price {
    chart: Option<Figure>,
    dearest: Option<String>,
    by_phase: Table,
    counters: Table,
}

/// What a wall buys.
struct Evidence {
    matrix: Matrix,
    observations: Table,
    surface: Option<Figure>,
    surfaces: Table,
    system_calls: Table,
}

/// Where the run's time went.
struct Effort {
    table: Table,
    said: Vec<String>,
}

/// A workload without a section of its own.
struct Workload {
    title: String,
    chart: Option<Figure>,
    /// What the chart shows.
    caption: &'static str,
    table: Table,
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
    Page {
        style: include_str!("../templates/report.css"),
        host: host_in_short(host),
        run: format!("{} · {}", printable(&run.started), elapsed(run.duration_seconds)),
        badge: badge::text(results),
        kvm_state: badge::state(results),
        warning: view.emulated().then_some(EMULATED),
        partial: run.partial.then_some(method::PARTIAL),
        glance: glance(&questions),
        findings: findings::sentences(&view),
        questions,
        series: view.walls.iter().map(|wall| (wall.series % 8, wall.label.clone())).collect(),
        strip: strip::figure(&view),
        logarithmic: strip::is_logarithmic(&view),
        distributions: ecdf::panels(&view),
        starts: tables::starts(&view),
        phases: phases::figure(&view),
        phase_legend: phases::legend(&view),
        phase_table: tables::phases(&view),
        warm: warm(&view),
        price: price(&view),
        memory: memory::panels(&view),
        split: split::figure(&view),
        memory_table: tables::memory(&view),
        memory_split: tables::memory_split(&view),
        ratios: ratios::figure(&view, SYSCALLS),
        operations: tables::operations(&view),
        crowded: view.walls.len() > 4,
        evidence: evidence(&view),
        workloads: further(&view),
        outcomes: tables::outcomes(&view),
        effort: Effort { table: tables::effort(&view), said: effort::sentences(&view) },
        agreement: effort::agreement(&view),
        outcome: outcome(results),
        noise: ratios::noise(&view),
        noise_table: tables::noise(&view),
        folklore: folklore::rows(&view),
        gaps: gaps(&view),
        runtimes: tables::runtimes(&view),
        host_table: tables::host(&view),
        reasons: reasons(results),
        virtualisation: tables::virtualisation(&view),
        run_table: tables::method(&view),
        every_cell: tables::every_cell(&view),
        every_ratio: tables::every_ratio(&view),
        points: &method::POINTS,
        data: data_uri(results),
        tool_version: printable(&run.tool_version),
    }
}

fn warm(view: &View<'_>) -> Option<Warm> {
    let starts = tables::starts_by_way(view);
    (!starts.is_empty()).then(|| Warm {
        chart: ways::figure(view),
        starts,
        memory: tables::memory_by_way(view),
    })
}

fn price(view: &View<'_>) -> Option<Price> {
    let (chart, counters) = (price::figure(view), tables::kvm_counters(view));
    (chart.is_some() || !counters.is_empty()).then(|| Price {
        chart,
        dearest: kvm::dearest(view),
        by_phase: tables::kvm_by_phase(view),
        counters,
    })
}

fn evidence(view: &View<'_>) -> Evidence {
    Evidence {
        matrix: matrix(view),
        observations: tables::observations(view),
        surface: surface::figure(view),
        surfaces: tables::surfaces(view),
        system_calls: tables::system_calls(view),
    }
}

fn further(view: &View<'_>) -> Vec<Workload> {
    let workload = |name| {
        let storm = (name == workloads::STORM).then(|| storm::figure(view)).flatten();
        let caption = if storm.is_some() { method::STORM } else { method::RATIOS };
        Workload {
            title: workloads::title(name),
            chart: storm.or_else(|| ratios::figure(view, name)),
            caption,
            table: tables::workload(view, name),
        }
    };
    view.further_workloads().into_iter().map(workload).collect()
}

/// Whether a user's own command did the same everywhere.
fn outcome(results: &Results) -> Option<String> {
    (!results.outcomes.is_empty()).then(|| Agreement::of(results).to_string())
}

/// Why the host's KVM is taken for what the badge says.
fn reasons(results: &Results) -> Vec<String> {
    let profile = results.virtualisation.iter();
    profile.flat_map(|profile| &profile.reasons).map(|reason| printable(reason)).collect()
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
