//! `bulkhead report`: saved results, rendered again.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bulkhead_reports::{self as reports, schema::Results};

use crate::args::{Rendering, ReportArgs};
use crate::failure::Failure;
use crate::stdout;

pub fn run(args: &ReportArgs) -> Result<ExitCode, Failure> {
    let file = if args.results.is_dir() {
        args.results.join("results.json")
    } else {
        args.results.clone()
    };
    let results = reports::load(&file)?;
    if let Some(format) = args.format {
        stdout::text(&rendered(&results, format)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let beside = file.parent().map_or_else(PathBuf::new, Path::to_owned);
    let out = args.out.as_ref().unwrap_or(&beside);
    present(out, &results, false)?;
    Ok(ExitCode::SUCCESS)
}

fn rendered(results: &Results, format: Rendering) -> Result<String, Failure> {
    Ok(match format {
        Rendering::Text => reports::terminal::summary(results),
        Rendering::Html => reports::html::render(results),
        Rendering::Md => reports::markdown::render(results),
        Rendering::Csv => reports::csv::render(results),
        Rendering::Json => serde_json::to_string_pretty(results)? + "\n",
    })
}

/// Writes the report and prints the summary, which ends by naming the page; or
/// the results themselves, for a program.
pub fn present(out: &Path, results: &Results, json: bool) -> Result<(), Failure> {
    let written = reports::write_all(out, results)?;
    if json {
        return stdout::json(results);
    }
    stdout::line(reports::terminal::summary(results))?;
    if let Some(page) = written.last() {
        stdout::line(format_args!("Report: {}", page.display()))?;
    }
    Ok(())
}
