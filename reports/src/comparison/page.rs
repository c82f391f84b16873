//! A comparison as one HTML page, in the looks of a report.

use askama::Template;

use super::text::{METHOD, OTHER_HOST, verdict};
use super::{Comparison, Side};
use crate::charts::{Figure, changes};
use crate::tables::{self, Table};

/// The page; the template says where each part goes.
#[derive(Template)]
#[template(path = "compare.html")]
struct Page<'a> {
    style: &'static str,
    verdict: String,
    sides: [(&'static str, &'a Side); 2],
    other_host: Option<&'static str>,
    emulated: bool,
    method: &'static str,
    settings: Table,
    series: Vec<(usize, &'a str)>,
    chart: Option<Figure>,
    changed: Table,
    unchanged: Table,
    missing: Table,
}

/// The comparison as one HTML page.
#[must_use]
pub fn html(comparison: &Comparison) -> String {
    let (changed, unchanged) = (comparison.changed(), comparison.unchanged());
    let names = comparison.runtimes.iter().enumerate();
    let in_chart = |name: &str| changed.iter().any(|change| change.runtime == name);
    let page = Page {
        style: include_str!("../../templates/report.css"),
        verdict: verdict(comparison),
        sides: [("Before", &comparison.before), ("After", &comparison.after)],
        other_host: comparison.other_host().then_some(OTHER_HOST),
        emulated: comparison.before.emulated || comparison.after.emulated,
        method: METHOD,
        settings: tables::settings(comparison),
        series: names
            .filter(|(_, name)| in_chart(name))
            .map(|(index, name)| (index % 8, name.as_str()))
            .collect(),
        chart: changes::figure(comparison),
        changed: tables::changes(&changed, comparison),
        unchanged: tables::changes(&unchanged, comparison),
        missing: tables::missing(comparison),
    };
    #[expect(clippy::expect_used, reason = "writing to a String and escaping cannot fail")]
    page.render().expect("the template has no fallible filters")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::tests::example;

    #[test]
    fn the_page_says_first_that_the_hosts_differ() {
        let page = html(&example());
        let place = |what: &str| page.find(what).unwrap_or_else(|| panic!("{what}"));
        assert!(place("Different hosts") < place("id=\"changed\""));
        assert!(place("id=\"changed\"") < place("id=\"unchanged\""));
        assert!(page.contains("<svg") && page.contains("a.json") && page.contains("b.json"));
        assert!(!page.contains("<CPU>") && page.contains("Another &#60;CPU&#62;"));
        for outside in ["https://", "<script", "<link", "<img", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn one_host_has_no_warning_and_no_change_no_chart() {
        let mut same = example();
        same.settings.clear();
        same.changes.retain(|change| !change.verdict.is_change());
        let page = html(&same);
        assert!(!page.contains("Different hosts") && !page.contains("<svg"));
        assert!(page.contains("None of 1 metrics changed beyond noise"));
    }
}
