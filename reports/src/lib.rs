//! From results to something to read.
//!
//! The harness writes [`schema::Results`]; everything in this crate reads it.
//! Nothing here measures, and nothing here does statistics: the figures in a
//! report are the figures in the file. Nothing here knows a runtime, a terminal
//! or the network either: text in, text out.
//!
//! A `view` looks results up and names them, `tables` and `charts` arrange them,
//! and [`terminal`], [`markdown`] and [`html`] print the same cells.

#![deny(missing_docs)]

pub mod advice;
pub mod agreement;
mod badge;
mod charts;
pub mod clocks;
pub mod comparison;
pub mod csv;
#[cfg(test)]
mod described;
mod effort;
mod findings;
mod folklore;
mod gaps;
mod glance;
pub mod html;
mod isolation;
mod kvm;
pub mod markdown;
mod method;
mod operations;
mod overview;
#[cfg(test)]
mod robustness;
#[cfg(test)]
mod sample;
pub mod samples;
pub mod schema;
mod split;
mod store;
mod tables;
pub mod terminal;
pub mod units;
mod view;
pub mod virtualisation;
mod ways;
mod workloads;

use std::path::{Path, PathBuf};

pub use store::{StoreError, load, save, write_atomically};

use schema::Results;

/// Writes `results.json`, `report.md` and `index.html` into `directory`, which is
/// made if it is missing, and returns their paths in that order.
///
/// # Errors
/// The results are written first: when a report cannot be, they are kept.
pub fn write_all(directory: &Path, results: &Results) -> Result<Vec<PathBuf>, StoreError> {
    std::fs::create_dir_all(directory)
        .map_err(|source| StoreError::Write { path: directory.to_owned(), source })?;
    let [data, text, page] =
        [store::RESULTS, "report.md", "index.html"].map(|name| directory.join(name));
    save(&data, results)?;
    store::write_atomically(&text, markdown::render(results).as_bytes())?;
    store::write_atomically(&page, html::render(results).as_bytes())?;
    Ok(vec![data, text, page])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_three_files_that_agree() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("runs").join("one");
        let results = sample::results();
        let paths = write_all(&directory, &results).unwrap();
        let names: Vec<_> = paths.iter().filter_map(|path| path.file_name()).collect();
        assert_eq!(names, ["results.json", "report.md", "index.html"]);
        assert!(load(&paths[0]).unwrap() == results);
        assert_eq!(std::fs::read_to_string(&paths[1]).unwrap(), markdown::render(&results));
        assert_eq!(std::fs::read_to_string(&paths[2]).unwrap(), html::render(&results));
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let inside = file.path().join("report");
        let error = write_all(&inside, &sample::results()).unwrap_err();
        assert!(error.to_string().contains(&inside.display().to_string()), "{error}");
    }
}
