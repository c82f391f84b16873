//! Finds the program of a workload in the layers of an image.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use bulkhead_runtime::{BundleError, Error};
use oci_spec::runtime::Process;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

/// Where a shell looks when the image does not say (`_PATH_DEFPATH`, paths.h).
const DEFAULT_PATH: &str = "/usr/bin:/bin";

/// A program as a file of the host.
#[derive(Debug)]
pub struct Program {
    /// As the configuration names it.
    pub command: String,
    /// The file in one of the layers.
    pub path: PathBuf,
}

/// The file that `process` runs: in the topmost layer that has it.
///
/// Symbolic links are not followed, because they would mean files of the image
/// and lead to files of the host.
pub fn find(layers: &[PathBuf], process: &Process) -> Result<Program, Error> {
    let command =
        process.args().as_ref().and_then(|args| args.first()).ok_or(BundleError::NoCommand)?;
    for candidate in candidates(command, process) {
        if let Some(path) = in_layers(layers, &candidate)? {
            return Ok(Program { command: command.clone(), path });
        }
    }
    Err(Error::WorkloadNotFound { command: command.clone() })
}

/// The paths in the image that `command` may stand for, relative to its root.
fn candidates(command: &str, process: &Process) -> Vec<PathBuf> {
    let relative = |path: &str| PathBuf::from(path.trim_start_matches('/'));
    if command.contains('/') {
        return vec![relative(command)];
    }
    let variables = process.env().iter().flatten();
    let path = variables.filter_map(|variable| variable.strip_prefix("PATH=")).next_back();
    let directories = path.unwrap_or(DEFAULT_PATH).split(':');
    directories.map(|directory| relative(directory).join(command)).collect()
}

fn in_layers(layers: &[PathBuf], relative: &Path) -> Result<Option<PathBuf>, BundleError> {
    for layer in layers {
        match look_up(layer, relative)? {
            Found::File => return Ok(Some(layer.join(relative))),
            Found::Whiteout => return Ok(None),
            Found::Nothing => {}
        }
    }
    Ok(None)
}

enum Found {
    File,
    /// Deleted by this layer: lower ones do not count.
    Whiteout,
    Nothing,
}

fn look_up(layer: &Path, relative: &Path) -> Result<Found, BundleError> {
    let missing = |error: rustix::io::Errno| BundleError::RootfsMissing {
        path: layer.to_owned(),
        source: error.into(),
    };
    let directory =
        openat(CWD, layer, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(missing)?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let Ok(file) = openat2(&directory, relative, flags, Mode::empty(), resolve) else {
        return Ok(Found::Nothing);
    };
    let status = std::fs::File::from(file)
        .metadata()
        .map_err(|source| BundleError::RootfsMissing { path: layer.join(relative), source })?;
    Ok(if is_whiteout(&status) {
        Found::Whiteout
    } else if status.is_file() {
        Found::File
    } else {
        Found::Nothing
    })
}

/// overlayfs writes a deletion as a character device 0:0.
fn is_whiteout(status: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    status.file_type().is_char_device() && status.rdev() == 0
}
