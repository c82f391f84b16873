//! Every summary as one line of comma-separated values (RFC 4180), for a
//! spreadsheet or a data frame: plain numbers in the unit of the results, no
//! figure where there is none.

use std::fmt::Write;

use crate::schema::{Cell, Fit, Ratio, Results};

const HEAD: &str = "workload,metric,runtime,unit,n,median,low,high,min,max,mad,p90,p99,outliers,\
    baseline,ratio,ratio_low,ratio_high,p_value,distinguishable";

/// Columns that only a summary of samples has: from `min` to `outliers`.
const WITHOUT_SAMPLES: &str = ",,,,,,";

/// The summaries, each with its comparison with the first runtime, then the
/// slopes of memory as metrics of `density`.
#[must_use]
pub fn render(results: &Results) -> String {
    let mut out = String::from(HEAD);
    out.push_str("\r\n");
    let baseline = results.runtimes.first().map(|runtime| runtime.name.as_str());
    for cell in &results.cells {
        let ratio = results.ratios.iter().find(|ratio| {
            Some(ratio.baseline.as_str()) == baseline
                && (&ratio.workload, &ratio.metric, &ratio.runtime)
                    == (&cell.workload, &cell.metric, &cell.runtime)
        });
        line(&mut out, cell, ratio);
    }
    for fit in &results.fits {
        slope(&mut out, fit);
    }
    out
}

fn line(out: &mut String, cell: &Cell, ratio: Option<&Ratio>) {
    let names = [&cell.workload, &cell.metric, &cell.runtime, &cell.unit];
    let _ = write!(out, "{},{}", names.map(|name| quoted(name)).join(","), cell.n);
    for value in [cell.median, cell.low, cell.high, cell.min, cell.max, cell.mad] {
        number(out, Some(value));
    }
    number(out, cell.p90);
    number(out, cell.p99);
    let _ = write!(out, ",{}", cell.outliers);
    if let Some(ratio) = ratio {
        let _ = write!(out, ",{}", quoted(&ratio.baseline));
        for value in [ratio.ratio, ratio.low, ratio.high, ratio.p_value] {
            number(out, Some(value));
        }
        let _ = write!(out, ",{}", ratio.distinguishable);
    } else {
        out.push_str(",,,,,,");
    }
    out.push_str("\r\n");
}

fn slope(out: &mut String, fit: &Fit) {
    let metric = format!("{} for each sandbox", fit.metric);
    let (metric, runtime) = (quoted(&metric), quoted(&fit.runtime));
    let _ = write!(out, "density,{metric},{runtime},bytes,{}", fit.n);
    for value in [fit.slope, fit.slope_low, fit.slope_high] {
        number(out, Some(value));
    }
    let _ = write!(out, "{WITHOUT_SAMPLES},,,,,,\r\n");
}

/// A field with every digit of `value`, empty where there is none.
pub(crate) fn number(out: &mut String, value: Option<f64>) {
    out.push(',');
    if let Some(value) = value.filter(|value| value.is_finite()) {
        let _ = write!(out, "{value}");
    }
}

/// `text` as a field. A spreadsheet takes a leading `=`, `+`, `-` or `@` for a
/// formula: text from a results file must not become one.
pub(crate) fn quoted(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn every_line_has_every_column() {
        let results = sample::results();
        let text = render(&results);
        let columns = HEAD.split(',').count();
        let lines: Vec<&str> = text.split_terminator("\r\n").collect();
        assert_eq!(lines.len(), 1 + results.cells.len() + results.fits.len());
        for line in lines {
            assert_eq!(line.split(',').count(), columns, "{line}");
        }
    }

    #[test]
    fn a_figure_keeps_every_digit_and_a_missing_one_is_empty() {
        let mut results = sample::results();
        results.cells.truncate(1);
        results.fits.clear();
        results.ratios.clear();
        results.cells[0].median = 0.1 + 0.2;
        results.cells[0].low = f64::NAN;
        let text = render(&results);
        assert!(text.contains(",0.30000000000000004,,"), "{text}");
        assert!(!text.contains("NaN"));
    }

    #[test]
    fn text_cannot_break_a_line_or_become_a_formula() {
        assert_eq!(quoted("a,\"b\"\nc"), "\"a,\"\"b\"\"\nc\"");
        assert_eq!(quoted("=1+1"), "'=1+1");
        assert_eq!(quoted("request→exec"), "request→exec");
    }
}
