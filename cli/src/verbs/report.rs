//! `bulkhead report`: saved results, rendered again.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bulkhead_reports as reports;

use crate::args::ReportArgs;
use crate::failure::Failure;

pub fn run(args: &ReportArgs) -> Result<ExitCode, Failure> {
    let file = if args.results.is_dir() {
        args.results.join("results.json")
    } else {
        args.results.clone()
    };
    let results = reports::load(&file)?;
    let beside = file.parent().map_or_else(PathBuf::new, Path::to_owned);
    let out = args.out.as_ref().unwrap_or(&beside);
    present(out, &results)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the report, prints the summary, and ends by naming the page.
pub fn present(out: &Path, results: &reports::schema::Results) -> Result<(), Failure> {
    let written = reports::write_all(out, results)?;
    println!("{}", reports::terminal::summary(results));
    if let Some(page) = written.last() {
        println!("Report: {}", page.display());
    }
    Ok(())
}
