//! Results on disk: read with an error that says what is wrong with the file,
//! written so that a reader never sees half of one.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::error::Category;

use crate::schema::{Results, SCHEMA_VERSION};

/// Name of the results file in a report's directory.
pub(crate) const RESULTS: &str = "results.json";

/// Why results could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file could not be read.
    #[error("cannot read results from {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file ends in the middle of a value.
    #[error("{path} is truncated: it ends in the middle of the results")]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Where it ends.
        #[source]
        source: serde_json::Error,
    },
    /// The file is not JSON.
    #[error("{path} is not JSON")]
    NotJson {
        /// The file.
        path: PathBuf,
        /// Where it stops being JSON.
        #[source]
        source: serde_json::Error,
    },
    /// The file is JSON but not results.
    #[error("{path} is JSON, but not results of bulkhead bench")]
    NotResults {
        /// The file.
        path: PathBuf,
        /// What is missing or of another type.
        #[source]
        source: serde_json::Error,
    },
    /// A later bulkhead wrote the file.
    #[error(
        "{path} has schema version {found}, this bulkhead reads up to {supported}: \
         use the bulkhead that wrote it, or a later one"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Version in the file.
        found: u32,
        /// Latest version understood here.
        supported: u32,
    },
    /// The results could not be turned into JSON.
    #[error("cannot encode the results for {path}")]
    Encode {
        /// The file that was to be written.
        path: PathBuf,
        /// What could not be encoded.
        #[source]
        source: serde_json::Error,
    },
    /// A file could not be written; an earlier one of that name is untouched.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// The only field whose meaning never changes.
#[derive(Deserialize)]
struct Version {
    schema_version: u32,
}

/// Reads a results file, or the one in a report's directory.
///
/// # Errors
/// [`StoreError`] says whether the file is unreadable, truncated, not JSON, not
/// results, or of a schema later than [`SCHEMA_VERSION`].
pub fn load(path: &Path) -> Result<Results, StoreError> {
    let inside = path.join(RESULTS);
    let path = if path.is_dir() { &inside } else { path };
    let text = std::fs::read(path)
        .map_err(|source| StoreError::Read { path: path.to_owned(), source })?;
    parse(&text, path)
}

fn parse(text: &[u8], path: &Path) -> Result<Results, StoreError> {
    let failed = |source: serde_json::Error| classify(path, text, source);
    let Version { schema_version: found } = serde_json::from_slice(text).map_err(failed)?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            supported: SCHEMA_VERSION,
        });
    }
    serde_json::from_slice(text).map_err(failed)
}

fn classify(path: &Path, text: &[u8], source: serde_json::Error) -> StoreError {
    let path = path.to_owned();
    match source.classify() {
        Category::Eof => StoreError::Truncated { path, source },
        // A number cut at its point or its sign is wrong as well as short.
        Category::Syntax if at_end(text, &source) => StoreError::Truncated { path, source },
        Category::Data => StoreError::NotResults { path, source },
        Category::Syntax | Category::Io => StoreError::NotJson { path, source },
    }
}

/// Whether an error is at the very end of what was read.
fn at_end(text: &[u8], error: &serde_json::Error) -> bool {
    let last_line = text.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let lines = text.iter().filter(|byte| **byte == b'\n').count() + 1;
    error.line() == lines && error.column() == last_line.len()
}

/// Writes a results file, replacing an earlier one in one step.
///
/// # Errors
/// [`StoreError::Write`] or [`StoreError::Encode`]; the earlier file is then
/// still there and no temporary file is left.
pub fn save(path: &Path, results: &Results) -> Result<(), StoreError> {
    let mut text = serde_json::to_vec_pretty(results)
        .map_err(|source| StoreError::Encode { path: path.to_owned(), source })?;
    text.push(b'\n');
    write_atomically(path, &text)
}

/// Puts `content` under `path`, whole or not at all.
///
/// # Errors
/// [`StoreError::Write`]; an earlier file of that name is then still there.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    replace(path, content).map_err(|source| StoreError::Write { path: path.to_owned(), source })
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .prefix(".results-")
        // A report is for everyone to read; the umask still applies.
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .tempfile_in(directory)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    // The rename itself is durable once the directory is.
    std::fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn what_was_saved_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("results.json");
        let results = sample::results();
        save(&path, &results).unwrap();
        save(&path, &results).unwrap();
        assert!(load(&path).unwrap() == results);
        assert!(load(directory.path()).unwrap() == results);
        let names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "no temporary file is left");
    }

    #[test]
    fn every_truncation_is_called_one() {
        let text = serde_json::to_vec(&sample::results()).unwrap();
        for end in (1..text.len()).step_by(13) {
            let error = parse(&text[..end], Path::new("r.json")).unwrap_err();
            assert!(matches!(error, StoreError::Truncated { .. }), "{end}: {error:?}");
        }
    }

    #[test]
    fn other_files_are_told_apart() {
        let path = Path::new("r.json");
        let text = "# A report\n";
        assert!(matches!(parse(text.as_bytes(), path), Err(StoreError::NotJson { .. })));
        let text = r#"{"schema_version": 1, "run": 7}"#;
        assert!(matches!(parse(text.as_bytes(), path), Err(StoreError::NotResults { .. })));
        let text = r#"{"name": "something else"}"#;
        assert!(matches!(parse(text.as_bytes(), path), Err(StoreError::NotResults { .. })));
        assert!(matches!(
            load(Path::new("/nonexistent/results.json")),
            Err(StoreError::Read { .. })
        ));
    }

    #[test]
    fn a_later_schema_is_refused_whatever_else_it_holds() {
        let text = r#"{"schema_version": 99, "unheard_of": []}"#;
        let error = parse(text.as_bytes(), Path::new("r.json")).unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error:?}");
        assert!(error.to_string().contains("schema version 99"));
    }

    #[test]
    fn a_figure_that_could_not_be_computed_survives_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("results.json");
        let mut results = sample::results();
        results.cells[0].high = f64::NAN;
        results.ratios[0].ratio = f64::INFINITY;
        save(&path, &results).unwrap();
        let loaded = load(&path).unwrap();
        assert!(loaded.cells[0].high.is_nan());
        assert!(loaded.ratios[0].ratio.is_nan());
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        // A directory cannot be replaced by a file.
        let path = directory.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("content"), "kept").unwrap();
        let error = save(&path, &sample::results()).unwrap_err();
        assert!(matches!(error, StoreError::Write { .. }));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        assert_eq!(std::fs::read_to_string(path.join("content")).unwrap(), "kept");
    }
}
