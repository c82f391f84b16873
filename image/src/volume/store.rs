//! Making, finding, holding and removing volumes.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::copy::{self, CopyError};
use super::{Origin, VolumeName, VolumeRecord};
use crate::file::{self, FileError, read_open, retry};
use crate::merged::MergedView;
use crate::{Image, Store};

/// Longest `volume.json` read.
const RECORD_LIMIT: u64 = 1024 * 1024;
const DATA: &str = "_data";
const RECORD: &str = "volume.json";
const LOCK: &str = ".lock";
/// Begin the names of what is half made and half removed: no name of a volume begins
/// with a dot.
const NEW: &str = ".new-";
const OLD: &str = ".old-";
/// What is copied into a volume that is there already.
const FILLING: &str = "_filling";

/// A volume that cannot be made, found or removed.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// Not a name a volume can have.
    #[error(
        "`{}` is no name for a volume: letters, digits, `_`, `.` and `-`, beginning with a \
         letter or digit, at most 200", .0.escape_debug()
    )]
    Name(String),
    /// No volume of that name.
    #[error("no volume called `{0}`; `bulkhead volume ls` shows those there are")]
    NotFound(VolumeName),
    /// A sandbox uses it.
    #[error("volume `{0}` is in use")]
    InUse(VolumeName),
    /// Its record cannot be understood.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The image's files could not be put into it.
    #[error("cannot copy the image's files into volume `{name}`")]
    Copy {
        /// Which volume.
        name: VolumeName,
        /// Why.
        #[source]
        source: Box<CopyError>,
    },
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The volumes of a store.
#[derive(Debug, Clone)]
pub struct Volumes {
    dir: PathBuf,
}

/// A volume in use: while this lives, it is not removed. The lock is on the open file,
/// so a process that inherits [`Volume::as_fd`] keeps it too.
#[derive(Debug)]
pub struct Volume {
    name: VolumeName,
    dir: PathBuf,
    record: VolumeRecord,
    lock: File,
}

/// An image's directory that a new volume begins with.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    /// The image.
    pub image: &'a Image,
    /// The directory in it.
    pub path: &'a Path,
}

impl Store {
    /// The volumes that are kept beside the images.
    #[must_use]
    pub fn volumes(&self) -> Volumes {
        Volumes { dir: self.root().join("volumes") }
    }
}

impl Volumes {
    /// The volume of that name, made when it is not there. One that is empty begins with
    /// `content`.
    ///
    /// # Errors
    ///
    /// [`VolumeError`].
    pub fn create(
        &self,
        name: &VolumeName,
        labels: BTreeMap<String, String>,
        origin: Origin,
        content: Option<Content<'_>>,
    ) -> Result<Volume, VolumeError> {
        match self.open(name) {
            Err(VolumeError::NotFound(_)) => {}
            Ok(volume) => return self.fill(volume, content),
            Err(error) => return Err(error),
        }
        let _making = self.lock(FlockOperation::LockShared)?;
        let record = VolumeRecord::new(labels, origin);
        let temp = self.dir.join(format!("{NEW}{}", scratch_name()?));
        let made = self.make(&temp, name, &record, content);
        if made.is_err() {
            let _ = fs::remove_dir_all(&temp);
        }
        made?;
        let place = self.dir.join(name.as_str());
        match renameat_with(CWD, &temp, CWD, &place, RenameFlags::NOREPLACE) {
            Ok(()) => file::sync_dir(&self.dir)?,
            // Somebody else was quicker.
            Err(Errno::EXIST) => {
                fs::remove_dir_all(&temp).map_err(FileError::on("remove", &temp))?;
            }
            Err(error) => {
                let _ = fs::remove_dir_all(&temp);
                return Err(FileError::on("create", &place)(error).into());
            }
        }
        self.open(name)
    }

    /// Makes all of a volume in `dir`, on the disk.
    fn make(
        &self,
        dir: &Path,
        name: &VolumeName,
        record: &VolumeRecord,
        content: Option<Content<'_>>,
    ) -> Result<(), VolumeError> {
        file::make_dir(dir)?;
        let data = dir.join(DATA);
        make_data(&data)?;
        if let Some(content) = content {
            copy_up(content, &data, name)?;
        }
        let path = dir.join(RECORD);
        let json = serde_json::to_vec_pretty(record)
            .map_err(|source| VolumeError::Damaged { path: path.clone(), source })?;
        let written = || -> io::Result<()> {
            let options = OpenOptions::new().write(true).create_new(true).mode(0o600).clone();
            let mut file = options.open(&path)?;
            file.write_all(&json)?;
            file.sync_all()
        };
        written().map_err(FileError::on("write", &path))?;
        Ok(file::sync_dir(dir)?)
    }

    /// Puts `content` into a volume that is empty and that nobody else uses, as docker
    /// does.
    fn fill(
        &self,
        volume: Volume,
        content: Option<Content<'_>>,
    ) -> Result<Volume, VolumeError> {
        let Some(content) = content else { return Ok(volume) };
        if !is_empty(&volume.data())? {
            return Ok(volume);
        }
        let name = volume.name.clone();
        drop(volume);
        match self.lock_alone(&name) {
            Ok((dir, lock)) => {
                let data = dir.join(DATA);
                if is_empty(&data)? {
                    let filling = dir.join(FILLING);
                    remove_tree(&filling)?;
                    make_data(&filling)?;
                    copy_up(content, &filling, &name)?;
                    fs::rename(&filling, &data).map_err(FileError::on("replace", &data))?;
                    file::sync_dir(&dir)?;
                }
                drop(lock);
            }
            // Who uses it has it as it is.
            Err(VolumeError::InUse(_)) => {}
            Err(error) => return Err(error),
        }
        self.open(&name)
    }

    /// The volume of that name.
    ///
    /// # Errors
    ///
    /// [`VolumeError`].
    pub fn open(&self, name: &VolumeName) -> Result<Volume, VolumeError> {
        loop {
            let (dir, lock) = self.lock_record(name, FlockOperation::LockShared)?;
            let path = dir.join(RECORD);
            if !is_at(&lock, &path) {
                // Removed between opening and locking.
                continue;
            }
            let bytes = read_open(&lock, &path, RECORD_LIMIT)?;
            let record = serde_json::from_slice(&bytes)
                .map_err(|source| VolumeError::Damaged { path, source })?;
            return Ok(Volume { name: name.clone(), dir, record, lock });
        }
    }

    /// All volumes, in the order of their names.
    ///
    /// # Errors
    ///
    /// [`VolumeError`].
    pub fn list(&self) -> Result<Vec<Volume>, VolumeError> {
        let mut found = Vec::new();
        for name in self.entries()?.iter().filter_map(|name| name.parse().ok()) {
            match self.open(&name) {
                Ok(volume) => found.push(volume),
                Err(VolumeError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Removes a volume and its data.
    ///
    /// # Errors
    ///
    /// [`VolumeError::InUse`] while a sandbox uses it; [`VolumeError`].
    pub fn remove(&self, name: &VolumeName) -> Result<(), VolumeError> {
        let (dir, _lock) = self.lock_alone(name)?;
        let away = self.dir.join(format!("{OLD}{}", scratch_name()?));
        fs::rename(&dir, &away).map_err(FileError::on("remove", &dir))?;
        file::sync_dir(&self.dir)?;
        Ok(fs::remove_dir_all(&away).map_err(FileError::on("remove", &away))?)
    }

    /// Whether a sandbox uses it now.
    ///
    /// # Errors
    ///
    /// [`VolumeError`].
    pub fn is_used(&self, name: &VolumeName) -> Result<bool, VolumeError> {
        match self.lock_alone(name) {
            Ok(_) => Ok(false),
            Err(VolumeError::InUse(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Removes what killed processes left half made or half removed, and the volumes of
    /// runs that are over.
    ///
    /// # Errors
    ///
    /// [`VolumeError`].
    pub fn collect_garbage(&self) -> Result<(), VolumeError> {
        if !self.dir.exists() {
            return Ok(());
        }
        let _alone = self.lock(FlockOperation::LockExclusive)?;
        for name in self.entries()? {
            if name.starts_with(NEW) || name.starts_with(OLD) {
                remove_tree(&self.dir.join(&name))?;
            }
        }
        for volume in self.list()? {
            if volume.record.origin == Origin::Ephemeral {
                let name = volume.name.clone();
                drop(volume);
                match self.remove(&name) {
                    Ok(()) | Err(VolumeError::InUse(_) | VolumeError::NotFound(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Takes a volume's lock for ourselves alone, or says that it is in use.
    fn lock_alone(&self, name: &VolumeName) -> Result<(PathBuf, File), VolumeError> {
        let (dir, lock) = self.lock_record(name, FlockOperation::NonBlockingLockExclusive)?;
        if is_at(&lock, &dir.join(RECORD)) {
            Ok((dir, lock))
        } else {
            Err(VolumeError::NotFound(name.clone()))
        }
    }

    fn lock_record(
        &self,
        name: &VolumeName,
        operation: FlockOperation,
    ) -> Result<(PathBuf, File), VolumeError> {
        let dir = self.dir.join(name.as_str());
        let path = dir.join(RECORD);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(VolumeError::NotFound(name.clone()));
            }
            other => other.map_err(FileError::on("open", &path))?,
        };
        match retry(|| rustix::fs::flock(&file, operation)) {
            Err(Errno::WOULDBLOCK) => Err(VolumeError::InUse(name.clone())),
            other => {
                other.map_err(FileError::on("lock", &path))?;
                Ok((dir, file))
            }
        }
    }

    fn lock(&self, operation: FlockOperation) -> Result<File, VolumeError> {
        file::make_dir(&self.dir)?;
        Ok(file::lock(&self.dir.join(LOCK), operation)?)
    }

    fn entries(&self) -> Result<Vec<String>, FileError> {
        let listing = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(FileError::on("list", &self.dir))?,
        };
        Ok(listing.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
    }
}

impl Volume {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &VolumeName {
        &self.name
    }

    /// The directory with the data.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.dir.join(DATA)
    }

    /// What is known of it.
    #[must_use]
    pub fn record(&self) -> &VolumeRecord {
        &self.record
    }
}

impl AsFd for Volume {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }
}

/// Readable by all, as docker makes it; the directories above are root's alone.
fn make_data(path: &Path) -> Result<(), FileError> {
    fs::DirBuilder::new().mode(0o755).create(path).map_err(FileError::on("create", path))
}

fn copy_up(content: Content<'_>, to: &Path, name: &VolumeName) -> Result<(), VolumeError> {
    let failed = |source| VolumeError::Copy { name: name.clone(), source: Box::new(source) };
    let layers = content.image.layer_dirs();
    let view = MergedView::open(layers).map_err(|source| failed(CopyError::Layers(source)))?;
    copy::tree(&view, content.path, to).map_err(failed)
}

fn is_empty(dir: &Path) -> Result<bool, FileError> {
    Ok(fs::read_dir(dir).map_err(FileError::on("list", dir))?.next().is_none())
}

fn remove_tree(path: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::on("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Whether `file` is what `path` leads to.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(ours), Ok(there)) = (file.metadata(), fs::metadata(path)) else { return false };
    (ours.dev(), ours.ino()) == (there.dev(), there.ino())
}

fn scratch_name() -> Result<String, FileError> {
    let name =
        VolumeName::random().map_err(FileError::on("read", Path::new("/dev/urandom")))?;
    Ok(name.as_str()[..16].to_owned())
}

#[cfg(test)]
mod tests;
