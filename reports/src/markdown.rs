//! `report.md`: the report as Markdown, for repositories and issue threads.

use std::fmt::Write;

use crate::agreement::Agreement;
use crate::badge;
use crate::effort;
use crate::findings;
use crate::gaps::{Gap, gaps};
use crate::method;
use crate::overview;
use crate::schema::Results;
use crate::tables::{self, Datum, Table};
use crate::view::{EMULATED, MARK, View};
use crate::workloads;

/// The report as Markdown.
#[must_use]
pub fn render(results: &Results) -> String {
    let view = View::new(results);
    let mut out = String::from("# What each wall costs here\n");
    let badge = badge::text(results);
    let _ = write!(out, "\n**{}**", escape(&badge));
    let started = escape(&crate::view::printable(&results.run.started));
    let _ = writeln!(out, " · run of {started}");
    if results.run.partial {
        let _ = writeln!(out, "\n> **Partial run.** {}", method::PARTIAL);
    }
    if view.emulated() {
        let _ = writeln!(out, "\n> **{MARK}** {EMULATED}");
    }
    if !results.outcomes.is_empty() {
        let agreement = Agreement::of(results).to_string();
        let _ = writeln!(out, "\n> {}", escape(&agreement.replace('\n', ";")));
    }
    out.push('\n');
    for sentence in overview::sentences(&view) {
        let _ = writeln!(out, "- {}", escape(&sentence));
    }
    let findings = findings::sentences(&view);
    if !findings.is_empty() {
        out.push_str("\n## What the figures say\n\n");
        for sentence in findings {
            let _ = writeln!(out, "- {}", escape(&sentence));
        }
        let _ = writeln!(out, "\n{}", findings::RULE);
        if let Some(agreement) = effort::agreement(&view) {
            let _ = writeln!(out, "{}", escape(&agreement));
        }
    }
    let gaps = gaps(&view);
    let workloads: Vec<(String, Table)> = view
        .further_workloads()
        .into_iter()
        .map(|name| (workloads::title(name), tables::workload(&view, name)))
        .collect();
    let further = workloads.iter().map(|(t, table)| (t.as_str(), method::WORKLOADS, table));
    for (title, about, table) in [
        ("Start time", method::START, tables::starts(&view)),
        ("Starts that do not boot", method::WARM, tables::starts_by_way(&view)),
        ("What each further one keeps", method::BY_WAY, tables::memory_by_way(&view)),
        ("Where a start's time goes", method::PHASES, tables::phases(&view)),
        ("Memory", method::MEMORY, tables::memory(&view)),
        ("Where the memory is", method::SPLIT, tables::memory_split(&view)),
        ("The kernel boundary", method::OPERATIONS, tables::operations(&view)),
        ("KVM in each phase", method::BY_PHASE, tables::kvm_by_phase(&view)),
        ("KVM's counters", method::COUNTERS, tables::kvm_counters(&view)),
        ("Isolation", method::ISOLATION, tables::isolation(&view)),
        ("Host surface", method::SURFACE, tables::surfaces(&view)),
    ] {
        section(&mut out, title, about, &table);
    }
    for (title, about, table) in further {
        section(&mut out, &escape(title), about, table);
    }
    for (title, about, table) in [
        ("What your own command wrote", method::OUTCOMES, tables::outcomes(&view)),
        ("Noise floor", method::NOISE, tables::noise(&view)),
        ("How the measuring was spent", method::EFFORT, tables::effort(&view)),
        ("Folklore and evidence", method::FOLKLORE, tables::folklore(&view)),
        ("Left out", method::OMITTED, tables::omissions(&gaps)),
        ("Runtimes", "", tables::runtimes(&view)),
        ("Host", "", tables::host(&view)),
        ("The host's KVM", method::VIRTUALISATION, tables::virtualisation(&view)),
        ("Run", "", tables::method(&view)),
    ] {
        section(&mut out, title, about, &table);
    }
    for sentence in effort::sentences(&view) {
        let _ = writeln!(out, "\n{}", escape(&sentence));
    }
    consoles(&mut out, &gaps);
    out.push_str("\n## Method\n\n");
    for point in method::POINTS {
        let _ = writeln!(out, "- **{}** {}", point.title, point.text);
    }
    out.push_str("\nThe raw samples are in `results.json` beside this file.\n");
    out
}

pub(crate) fn section(out: &mut String, title: &str, about: &str, table: &Table) {
    if table.is_empty() {
        return;
    }
    let _ = write!(out, "\n## {title}\n\n");
    if !about.is_empty() {
        let _ = write!(out, "{about}\n\n");
    }
    for head in &table.head {
        let _ = write!(out, "| {} ", escape(&head.text));
    }
    out.push_str("|\n");
    for head in &table.head {
        out.push_str(if head.figures { "| ---: " } else { "| --- " });
    }
    out.push_str("|\n");
    for row in &table.rows {
        for datum in row {
            let _ = write!(out, "| {} ", cell(datum));
        }
        out.push_str("|\n");
    }
}

/// What came with the reasons for what is missing, as indented code: no text in
/// it can end that.
fn consoles(out: &mut String, gaps: &[Gap]) {
    for gap in gaps.iter().filter(|gap| !gap.detail.is_empty()) {
        let _ =
            write!(out, "\n## Left out: {}, {}\n\n", escape(&gap.runtime), escape(&gap.what()));
        let _ = write!(out, "{}\n\n", escape(&gap.reason));
        for line in gap.detail.lines() {
            let _ = writeln!(out, "    {line}");
        }
    }
}

fn cell(datum: &Datum) -> String {
    let main = escape(&datum.main);
    let aside = datum.aside.lines().map(escape).collect::<Vec<_>>().join("<br>");
    match (main.is_empty(), aside.is_empty()) {
        (_, true) => main,
        (true, false) => aside,
        (false, false) if aside.starts_with("\\[") => format!("{main} {aside}"),
        (false, false) => format!("{main}<br>{aside}"),
    }
}

/// `text` with everything that Markdown or HTML would take for markup escaped.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn every_part_is_there() {
        let shown = render(&sample::results()).replace('\u{a0}', " ");
        for expected in [
            "# What each wall costs here",
            "software KVM (kvm\\_pvm)",
            "## Start time",
            "| container | 20 | 3.10 ms \\[3.01, 3.22\\] |",
            "not distinguishable",
            "guest kernel",
            "## Memory",
            "SHA-256 of 4 KiB",
            "do not represent microVMs on hardware",
            "## Method",
        ] {
            assert!(shown.contains(expected), "{expected:?} is missing in\n{shown}");
        }
        assert!(!shown.contains("## Left out"));
    }

    #[test]
    fn everything_that_was_measured_has_its_section() {
        let shown = render(&sample::rich());
        for title in [
            "Isolation",
            "Host surface",
            "Start storm",
            "Noise floor",
            "Folklore and evidence",
            "The host's KVM",
        ] {
            assert!(shown.contains(&format!("\n## {title}\n")), "{title} is missing");
        }
        assert!(!render(&sample::results()).contains("## Isolation"));
    }

    #[test]
    fn a_name_cannot_break_a_table_or_be_markup() {
        let mut results = sample::results();
        results.runtimes[1].name = "a|b <script>\n*c*".to_owned();
        for cell in results.cells.iter_mut().filter(|cell| cell.runtime == "container") {
            cell.runtime = "a|b <script>\n*c*".to_owned();
        }
        let shown = render(&results);
        assert!(shown.contains("| a\\|b &lt;script&gt; \\*c\\* |"), "{shown}");
        assert!(!shown.contains("<script>"), "{shown}");
    }
}
