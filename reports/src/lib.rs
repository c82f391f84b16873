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

mod charts;
mod clocks;
pub mod html;
pub mod markdown;
mod method;
mod operations;
mod overview;
#[cfg(test)]
mod robustness;
#[cfg(test)]
mod sample;
pub mod schema;
mod store;
mod tables;
pub mod terminal;
pub mod units;
mod view;

use std::path::{Path, PathBuf};

pub use store::{StoreError, load, save};

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
        ["results.json", "report.md", "index.html"].map(|name| directory.join(name));
    save(&data, results)?;
    store::write_atomically(&text, markdown::render(results).as_bytes())?;
    store::write_atomically(&page, html::render(results).as_bytes())?;
    Ok(vec![data, text, page])
}
