//! `bulkhead compare`: two results files, side by side.

use std::path::Path;
use std::process::ExitCode;

use bulkhead_bench::compare::{Named, compare};
use bulkhead_reports::{self as reports, comparison};

use crate::args::{CompareArgs, Rendering};
use crate::failure::{Failure, code};
use crate::stdout;

pub fn run(args: &CompareArgs) -> Result<ExitCode, Failure> {
    let (before, after) = (reports::load(&args.before)?, reports::load(&args.after)?);
    let named = |path: &Path| path.display().to_string();
    let names = [named(&args.before), named(&args.after)];
    let compared = compare(
        Named { name: &names[0], results: &before },
        Named { name: &names[1], results: &after },
    );
    if compared.changes.is_empty() {
        let hint = "both must hold samples of the same workload, metric and runtime";
        let error = format!("{} and {} have no metric in common", names[0], names[1]);
        return Err(Failure::new(error).hint(hint));
    }
    if let Some(path) = &args.html {
        reports::write_atomically(path, comparison::html(&compared).as_bytes())?;
    }
    stdout::text(&rendered(&compared, args.format)?)?;
    let Some(threshold) = args.fail_on_regression else { return Ok(ExitCode::SUCCESS) };
    let regressions = compared.regressions(threshold);
    for change in &regressions {
        let worse = change.worsening() * 100.0;
        eprintln!("Regression: {} is {worse:.1} % worse.", change.name());
    }
    let failed = !regressions.is_empty();
    Ok(if failed { ExitCode::from(code::REGRESSION) } else { ExitCode::SUCCESS })
}

fn rendered(compared: &comparison::Comparison, format: Rendering) -> Result<String, Failure> {
    Ok(match format {
        Rendering::Text => comparison::summary(compared),
        Rendering::Html => comparison::html(compared),
        Rendering::Md => comparison::markdown(compared),
        Rendering::Csv => comparison::csv(compared),
        Rendering::Json => serde_json::to_string_pretty(compared)? + "\n",
    })
}
