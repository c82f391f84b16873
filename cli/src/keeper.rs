//! Where the results of a run go: while it lasts, when it is over, when there is
//! no room for them, and when it goes on later.

use std::cell::{Cell, OnceCell};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use bulkhead_bench::Checkpoint;
use bulkhead_reports::{self as reports, StoreError, schema::Results};
use clap::Parser;

use crate::args::{BenchArgs, Cli, Verb};
use crate::failure::Failure;
use crate::progress::Bar;
use crate::verbs::report;

/// Unfinished results, in the directory of the finished ones.
const CHECKPOINT: &str = "checkpoint.json";

/// Where results go that cannot go where they should: in memory, most likely to
/// have room when a disk is full.
const REFUGE: &str = "/dev/shm";

/// Why `--resume` does not find a run to go on with.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// The results could not be loaded.
    #[error("no interrupted run in {directory}")]
    Load {
        /// Where they should be.
        directory: PathBuf,
        /// What is wrong with them.
        #[source]
        source: StoreError,
    },
    /// The command line in the results is not one of this bulkhead.
    #[error("the run in {directory} was made by a command this bulkhead does not know")]
    Command {
        /// Where the results are.
        directory: PathBuf,
        /// What is not understood.
        #[source]
        source: clap::Error,
    },
    /// The command line in the results is not a benchmark.
    #[error("the run in {directory} was not made by a plain `bulkhead bench`")]
    NotBench {
        /// Where the results are.
        directory: PathBuf,
    },
}

/// Loads an interrupted run and the arguments it was begun with.
pub fn interrupted(directory: &Path) -> Result<(Results, BenchArgs), ResumeError> {
    let checkpoint = directory.join(CHECKPOINT);
    // Where both are, the run was interrupted more than once, the last time without
    // a chance to write its results.
    let file = if checkpoint.exists() { &checkpoint } else { directory };
    let directory = || directory.to_owned();
    let results = reports::load(file)
        .map_err(|source| ResumeError::Load { directory: directory(), source })?;
    let cli = Cli::try_parse_from(&results.run.command)
        .map_err(|source| ResumeError::Command { directory: directory(), source })?;
    match cli.verb {
        Verb::Bench(args) if args.verb.is_none() => Ok((results, args)),
        _ => Err(ResumeError::NotBench { directory: directory() }),
    }
}

/// Keeps the results of a run in a directory.
pub struct Keeper<'a> {
    /// The directory, once it is known: by default its name is the time of the run.
    directory: OnceCell<PathBuf>,
    bar: &'a Bar,
    warned: Cell<bool>,
}

impl<'a> Keeper<'a> {
    pub fn new(directory: Option<PathBuf>, bar: &'a Bar) -> Self {
        let directory = directory.map_or_else(OnceCell::new, OnceCell::from);
        Self { directory, bar, warned: Cell::new(false) }
    }

    /// The directory, once something was kept in it.
    pub fn chosen(&self) -> Option<&Path> {
        self.directory.get().map(PathBuf::as_path)
    }

    fn directory(&self, results: &Results) -> &Path {
        self.directory.get_or_init(|| default_directory(&results.run.started))
    }

    /// Writes the report; where that fails, the results go elsewhere, and the
    /// failure says where.
    pub fn present(&self, results: &Results, json: bool) -> Result<(), Failure> {
        let directory = self.directory(results);
        let Err(failure) = report::present(directory, results, json) else {
            // Left over, it would only be an older copy.
            let _ = fs::remove_file(directory.join(CHECKPOINT));
            return Ok(());
        };
        Err(match rescue(results) {
            Some(place) => failure.hint(format!(
                "everything that was measured is in {0}; once there is room: bulkhead report \
                 {0} --out {1}",
                place.display(),
                directory.display(),
            )),
            None => failure.hint(format!(
                "the results could not be written to {REFUGE} or {} either",
                std::env::temp_dir().display()
            )),
        })
    }
}

impl Checkpoint for Keeper<'_> {
    fn save(&self, so_far: &Results) -> Result<(), Box<dyn Error + Send + Sync>> {
        let directory = self.directory(so_far);
        let saved = fs::create_dir_all(directory)
            .map_err(Into::into)
            .and_then(|()| Ok(reports::save(&directory.join(CHECKPOINT), so_far)?));
        // Only the first is worth a word while the run goes on.
        if let Err(error) = &saved
            && !so_far.effort.workloads.is_empty()
            && !self.warned.replace(true)
        {
            self.bar.warn(&format!(
                "warning: {error}; what is measured stays in memory until the run is over"
            ));
        }
        saved
    }
}

/// Saves results wherever there is room.
fn rescue(results: &Results) -> Option<PathBuf> {
    let name = format!("bulkhead-{}", file_name(&results.run.started));
    [PathBuf::from(REFUGE), std::env::temp_dir()].into_iter().find_map(|parent| {
        let file = parent.join(format!("{name}.json"));
        reports::save(&file, results).is_ok().then_some(file)
    })
}

/// `reports/runs/<time>`.
fn default_directory(started: &str) -> PathBuf {
    Path::new("reports/runs").join(file_name(started))
}

/// A time without characters a file name should not have.
fn file_name(time: &str) -> String {
    time.chars().filter(char::is_ascii_alphanumeric).collect()
}
