//! File operations that say what they were doing when they failed.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// A file operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct FileError {
    /// What was being done: `create`, `read`, …
    pub action: &'static str,
    /// On what.
    pub path: PathBuf,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// Turns what the kernel said into an error that names the file.
    pub(crate) fn on<E: Into<io::Error>>(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source: source.into() }
    }

    /// Whether the file was not there.
    pub(crate) fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// Reads a file that is not expected to hold more than `limit` bytes; one that
/// does is an error of kind `FileTooLarge`.
pub(crate) fn read_small(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let file = File::open(path).map_err(FileError::on("open", path))?;
    read_open(&file, path, limit)
}

/// [`read_small`] on a file that is open already.
pub(crate) fn read_open(file: &File, path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    // One read instead of many of growing size: this is on the way of each run.
    let len = file.metadata().map_err(FileError::on("examine", path))?.len();
    let mut bytes = Vec::with_capacity(usize::try_from(len.min(limit)).unwrap_or(0) + 1);
    file.take(limit + 1).read_to_end(&mut bytes).map_err(FileError::on("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(FileError::on("read", path)(io::ErrorKind::FileTooLarge));
    }
    Ok(bytes)
}

/// Makes a directory, and those above it, for its owner alone: unpacked layers
/// hold setuid programs and secrets that are nobody else's business.
pub(crate) fn make_dir(path: &Path) -> Result<(), FileError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(FileError::on("create", path))
}

/// Replaces a file in one step: whoever reads it, also after a crash of the
/// machine, finds all of the old content or all of the new. `scratch` must be
/// a directory on the same filesystem.
pub(crate) fn write_atomically(
    path: &Path,
    bytes: &[u8],
    scratch: &Path,
) -> Result<(), FileError> {
    let mut temp = tempfile::NamedTempFile::new_in(scratch)
        .map_err(FileError::on("create a file in", scratch))?;
    temp.write_all(bytes).map_err(FileError::on("write", temp.path()))?;
    temp.as_file().sync_all().map_err(FileError::on("sync", temp.path()))?;
    temp.persist(path).map_err(|e| FileError::on("replace", path)(e.error))?;
    if let Some(dir) = path.parent() {
        sync_dir(dir)?;
    }
    Ok(())
}

/// Brings a directory's entries to the disk.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), FileError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(FileError::on("sync", dir))
}

/// Opens a lock file, made when missing, and takes the lock, waiting for it.
/// The lock is given up when the file is closed, also by the death of the
/// process.
pub(crate) fn lock(path: &Path, operation: FlockOperation) -> Result<File, FileError> {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(FileError::on("open", path))?;
    retry(|| rustix::fs::flock(&file, operation)).map_err(FileError::on("lock", path))?;
    Ok(file)
}

/// Repeats a call that a signal interrupted.
pub(crate) fn retry<T>(
    mut call: impl FnMut() -> rustix::io::Result<T>,
) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            other => return other,
        }
    }
}
