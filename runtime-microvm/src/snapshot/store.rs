//! The snapshots of one directory, by name.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::error::{SnapshotError, io_error};
use super::{KnownFile, Manifest, Snapshot, files};

/// Longest name.
const MAX_NAME: usize = 100;

/// An entry of a directory of snapshots.
#[derive(Debug)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// The snapshot, or what is wrong with it.
    pub snapshot: Result<Snapshot, SnapshotError>,
}

/// A directory of snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshots {
    dir: PathBuf,
}

impl Snapshots {
    /// Those in `dir`, which is made when the first comes.
    #[must_use]
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Where the snapshot `name` is or would be.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Name`].
    pub fn path(&self, name: &str) -> Result<PathBuf, SnapshotError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let fits = (1..=MAX_NAME).contains(&name.len()) && !name.starts_with('.');
        if fits && name.chars().all(plain) {
            Ok(self.dir.join(name))
        } else {
            Err(SnapshotError::Name(name.to_owned()))
        }
    }

    /// The snapshot `name`.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::NotFound`], or what is wrong with it.
    pub fn open(&self, name: &str) -> Result<Snapshot, SnapshotError> {
        let path = self.path(name)?;
        if !path.is_dir() {
            return Err(SnapshotError::NotFound(name.to_owned()));
        }
        Snapshot::open(&path)
    }

    /// All of them, by name.
    ///
    /// # Errors
    ///
    /// When the directory cannot be listed.
    pub fn list(&self) -> Result<Vec<Listed>, SnapshotError> {
        let mut names = self.entries(false)?;
        names.sort();
        let open = |name: String| Listed { snapshot: self.open(&name), name };
        Ok(names.into_iter().map(open).collect())
    }

    /// The names in the directory: of snapshots, or of what is half made.
    fn entries(&self, hidden: bool) -> Result<Vec<String>, SnapshotError> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(io_error("list", &self.dir))?,
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.filter(|name| name.starts_with('.') == hidden).collect())
    }

    /// Removes the snapshot `name`. Machines that go on from it keep their memory.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::NotFound`], [`SnapshotError::Io`].
    pub fn remove(&self, name: &str) -> Result<(), SnapshotError> {
        let path = self.path(name)?;
        // Under its name it is whole or not there at all.
        let aside = self.dir.join(hidden(name));
        match fs::rename(&path, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(SnapshotError::NotFound(name.to_owned()))
            }
            other => other
                .and_then(|()| fs::remove_dir_all(&aside))
                .map_err(io_error("remove", &path)),
        }
    }

    /// Begins a snapshot that will be called `name`.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`].
    pub fn draft(&self, name: &str) -> Result<Draft, SnapshotError> {
        let target = self.path(name)?;
        let dir = self.dir.join(hidden(name));
        remove_if_there(&dir)?;
        fs::create_dir_all(&dir).map_err(io_error("create", &dir))?;
        Ok(Draft { dir, target })
    }

    /// Removes what processes that are gone left half made; returns how many things.
    ///
    /// # Errors
    ///
    /// When something cannot be removed.
    pub fn collect_garbage(&self) -> Result<usize, SnapshotError> {
        let mut removed = 0;
        for name in self.entries(true)? {
            let owner = name.rsplit('.').next().unwrap_or_default();
            if !Path::new("/proc").join(owner).exists() {
                let path = self.dir.join(name);
                fs::remove_dir_all(&path).map_err(io_error("remove", &path))?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// A new file, for nobody else: it gets a guest's memory.
fn create(path: &Path) -> Result<File, SnapshotError> {
    let mut options = File::options();
    options.read(true).write(true).create_new(true).mode(0o600);
    options.open(path).map_err(io_error("create", path))
}

fn remove_if_there(dir: &Path) -> Result<(), SnapshotError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(io_error("remove", dir)),
    }
}

/// The name of what this process makes or removes.
fn hidden(name: &str) -> String {
    format!(".{name}.{}", std::process::id())
}

/// A snapshot that is being made. Dropping it removes it.
#[derive(Debug)]
pub struct Draft {
    dir: PathBuf,
    target: PathBuf,
}

impl Draft {
    /// An empty file for `bytes` of memory.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Io`].
    pub fn memory(&self, bytes: u64) -> Result<File, SnapshotError> {
        let path = self.dir.join(files::MEMORY);
        let file = create(&path)?;
        file.set_len(bytes).map_err(io_error("make room in", &path))?;
        Ok(file)
    }

    /// What its memory is now, which is written to disk before.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Io`].
    pub fn known_memory(&self, file: &File) -> Result<KnownFile, SnapshotError> {
        let path = self.dir.join(files::MEMORY);
        // Before anything vouches for it: after a power failure its length would be right
        // and its pages zero.
        file.sync_data().map_err(io_error("write", &path))?;
        KnownFile::of(&path).map_err(io_error("read", &path))
    }

    /// Makes it a snapshot; one that has the name already is replaced, or kept.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Exists`] when it is kept.
    pub fn publish(
        self,
        manifest: &Manifest,
        replace: bool,
    ) -> Result<Snapshot, SnapshotError> {
        let path = self.dir.join(files::STATE);
        let file = create(&path)?;
        io::Write::write_all(&mut &file, &manifest.encode()?)
            .and_then(|()| file.sync_data())
            .map_err(io_error("write", &path))?;
        if replace {
            remove_if_there(&self.target)?;
        }
        fs::rename(&self.dir, &self.target).map_err(|error| match error.kind() {
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => {
                let name = self.target.file_name().unwrap_or_default();
                SnapshotError::Exists(name.to_string_lossy().into_owned())
            }
            _ => io_error("create", &self.target)(error),
        })?;
        Snapshot::open(&self.target)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Gone once it was published.
        drop(fs::remove_dir_all(&self.dir));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drafts_that_are_dropped_leave_nothing_and_names_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::in_dir(dir.path().join("s"));
        assert!(snapshots.list().unwrap().is_empty());
        let draft = snapshots.draft("one").unwrap();
        assert_eq!(draft.memory(1 << 20).unwrap().metadata().unwrap().len(), 1 << 20);
        assert!(snapshots.list().unwrap().is_empty(), "not before it is published");
        drop(draft);
        assert_eq!(fs::read_dir(dir.path().join("s")).unwrap().count(), 0);
        for wrong in ["", ".x", "a/b", "..", "a b", &"x".repeat(MAX_NAME + 1)] {
            assert!(matches!(snapshots.path(wrong), Err(SnapshotError::Name(_))), "{wrong}");
        }
        assert!(matches!(snapshots.open("one"), Err(SnapshotError::NotFound(_))));
        assert!(matches!(snapshots.remove("one"), Err(SnapshotError::NotFound(_))));
    }

    #[test]
    fn damage_is_listed_and_what_the_dead_left_is_collected() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::in_dir(dir.path());
        fs::create_dir(dir.path().join("bad")).unwrap();
        fs::write(dir.path().join("bad").join(files::STATE), "nonsense").unwrap();
        let [bad] = &snapshots.list().unwrap()[..] else { panic!("one snapshot") };
        assert!(matches!(bad.snapshot, Err(SnapshotError::Format { .. })));
        assert_eq!(bad.name, "bad");
        // No process has this number (`PID_MAX_LIMIT`, linux/threads.h, is 4194304).
        fs::create_dir(dir.path().join(".gone.4194305")).unwrap();
        let _draft = snapshots.draft("mine").unwrap();
        assert_eq!(snapshots.collect_garbage().unwrap(), 1);
        snapshots.remove("bad").unwrap();
        assert!(snapshots.list().unwrap().is_empty());
    }
}
