//! Archives of a root filesystem: one layer, configured on the command line.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use super::{Generate, ImportError, ImportOptions, generate};
use crate::file::FileError;
use crate::progress::{Progress, Stage};
use crate::store::{Record, Transaction};

/// The configuration of an image made from a root filesystem (image-spec,
/// "Image Configuration", `config`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RootfsConfig {
    /// What to run; further arguments follow it.
    pub entrypoint: Vec<String>,
    /// What to run, or the arguments of the entrypoint, by default.
    pub cmd: Vec<String>,
    /// `NAME=value` each.
    pub env: Vec<String>,
    /// Working directory.
    pub working_dir: Option<String>,
    /// `user`, `uid`, `user:group` or `uid:gid`.
    pub user: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Signal that asks it to stop.
    pub stop_signal: Option<String>,
}

pub(super) fn import(
    transaction: &mut Transaction<'_>,
    path: &Path,
    options: &ImportOptions,
    progress: &dyn Progress,
) -> Result<Record, ImportError> {
    let mut file = File::open(path).map_err(FileError::on("open", path))?;
    let metadata = file.metadata().map_err(FileError::on("examine", path))?;
    if !metadata.is_file() {
        return Err(ImportError::NotAnImage { path: path.to_owned() });
    }
    progress.begin(Stage::Copy, Some(metadata.len()));
    let (layer, _) = transaction.stage(&mut file, progress)?;
    let what = Generate { layer, config: &options.config, limits: options.limits };
    generate(&what, transaction, progress)
}
