//! Removing directory trees.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::file::FileError;

/// Removes a tree. Unlike `remove_dir_all`, also one with directories its
/// owner may not write to, as layers have them; root does not care, but
/// everybody else does.
pub(crate) fn remove_all(path: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            open_up(path).map_err(FileError::on("make removable", path))?;
            fs::remove_dir_all(path).map_err(FileError::on("remove", path))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(FileError::on("remove", path)),
    }
}

/// Gives the owner every right on every directory of a tree.
fn open_up(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}
