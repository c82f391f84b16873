//! The image as one read-only EROFS disk, for a virtual machine.
//!
//! ```text
//! /init             PID 1 of the guest
//! /rootfs/          the image's tree, exactly as overlayfs would show it
//! /dev /proc /run   empty, for PID 1 to mount on
//! ```
//!
//! The disk is not compressed: it is read through the host's page cache, and
//! what that holds once serves every machine.

mod staging;

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use bulkhead_runtime::Rootfs;
use rustix::fs::FlockOperation;
use tempfile::TempDir;

use crate::file::{FileError, make_dir, sync_dir};
use crate::store::Store;
use crate::{Digest, Image};
use staging::Staging;
pub use staging::StagingStep;

/// Version of the layout above. Disks of other versions are made anew.
const LAYOUT_VERSION: u32 = 1;

/// How a disk arranges what is in its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DiskLayout {
    /// The end of a file beside its attributes where it fits: the smallest disk, with
    /// the fewest places to read.
    #[default]
    Compact,
    /// Every file in pages of its own, so that a guest can map them where they are
    /// (DAX).
    Mappable,
}

impl DiskLayout {
    /// What mkfs.erofs is told, and what sets the file apart from the other layout's.
    fn option(self) -> Option<&'static str> {
        match self {
            Self::Compact => None,
            Self::Mappable => Some("-Enoinline_data"),
        }
    }
}

/// The program that makes the disk, and how to get it.
const MKFS: &str = "mkfs.erofs";

/// Longest file name on Linux (`NAME_MAX`), by one too long for mkfs.erofs 1.5:
/// it cuts the name off and then does not find the file.
const MAX_NAME: usize = 255;

/// A disk that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The program that makes it is not installed.
    #[error("mkfs.erofs is not installed: `apt-get install erofs-utils`")]
    NoMkfs,
    /// The program cannot be started.
    #[error("mkfs.erofs cannot be started")]
    Start(#[source] io::Error),
    /// The image's tree cannot be put together for it.
    #[error("cannot {step} to put the image together")]
    Staging {
        /// Which step failed.
        step: StagingStep,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It failed.
    #[error("mkfs.erofs failed ({status}): {message}")]
    Mkfs {
        /// How it ended.
        status: ExitStatus,
        /// The end of what it said.
        message: String,
    },
    /// A name that EROFS could hold, but mkfs.erofs 1.5 cannot read.
    #[error("{} has a name of {MAX_NAME} bytes, which mkfs.erofs cannot handle", path.display())]
    LongName {
        /// Where it is, in a layer.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Store {
    /// A disk with the image and `init`, the first program of the guest. Made
    /// when first asked for, and kept as long as the image.
    ///
    /// # Errors
    ///
    /// [`DiskError`]; nothing is left of a disk that could not be made.
    pub fn disk(
        &self,
        image: &Image,
        init: &[u8],
        layout: DiskLayout,
    ) -> Result<Rootfs, DiskError> {
        let path = self.disk_path(&file_name(image, init, layout));
        if !path.exists() {
            let _lock = self.lock(FlockOperation::LockShared)?;
            make(&path, image.layer_dirs(), init, layout, &self.scratch())?;
        }
        Ok(Rootfs::Disk(path))
    }
}

/// Makes a disk of layers, topmost first, that are no image yet. `path` is in a
/// directory that nobody else writes to.
///
/// # Errors
///
/// [`DiskError`]; nothing is left of a disk that could not be made.
pub fn make_disk(
    path: &Path,
    layers: &[PathBuf],
    init: &[u8],
    layout: DiskLayout,
) -> Result<Rootfs, DiskError> {
    let scratch = path.parent().unwrap_or(Path::new("."));
    make(path, layers, init, layout, scratch)?;
    Ok(Rootfs::Disk(path.to_owned()))
}

/// The image's digest, by which garbage collection knows what the disk belongs
/// to, and what else it depends on.
fn file_name(image: &Image, init: &[u8], layout: DiskLayout) -> String {
    let option = layout.option().unwrap_or_default();
    let key = format!("{LAYOUT_VERSION} {}{option}", Digest::of(init));
    let key = &Digest::of(key.as_bytes()).hex()[..16];
    format!("{}.{key}.erofs", image.digest().hex())
}

fn make(
    path: &Path,
    layers: &[PathBuf],
    init: &[u8],
    layout: DiskLayout,
    scratch: &Path,
) -> Result<(), DiskError> {
    let dir = tempfile::Builder::new()
        .prefix("disk-")
        .tempdir_in(scratch)
        .map_err(FileError::on("create a directory in", scratch))?;
    let tree = prepare(&dir, init)?;
    let disk = dir.path().join("disk.erofs");
    let staging = Staging::new(layers, &tree.join("rootfs"))?;
    run_mkfs(&disk, &tree, layout, staging).map_err(|error| explain(error, layers))?;
    // Before the name: a disk cut short by a power failure would look whole.
    let file = File::open(&disk).map_err(FileError::on("open", &disk))?;
    file.sync_all().map_err(FileError::on("sync", &disk))?;
    fs::rename(&disk, path).map_err(FileError::on("create", path))?;
    path.parent().map_or(Ok(()), sync_dir)?;
    Ok(())
}

/// Looks for the reason of a failure that mkfs.erofs does not give.
fn explain(error: DiskError, layers: &[PathBuf]) -> DiskError {
    let long = || layers.iter().find_map(|layer| find_long_name(layer));
    match error {
        DiskError::Mkfs { .. } => match long() {
            Some(path) => DiskError::LongName { path },
            None => error,
        },
        _ => error,
    }
}

/// The first name of full length in a tree; what cannot be read is passed over.
fn find_long_name(dir: &Path) -> Option<PathBuf> {
    for entry in fs::read_dir(dir).ok()?.flatten() {
        if entry.file_name().len() >= MAX_NAME {
            return Some(entry.path());
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Some(found) = find_long_name(&entry.path())
        {
            return Some(found);
        }
    }
    None
}

/// Makes everything of the tree but the image, which is mounted on `rootfs`.
fn prepare(dir: &TempDir, init: &[u8]) -> Result<PathBuf, FileError> {
    use io::Write;
    let tree = dir.path().join("tree");
    for name in ["rootfs", "dev", "proc", "run"] {
        let path = tree.join(name);
        make_dir(&path)?;
        permit_all(&path)?;
    }
    let path = tree.join("init");
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o755)
        .open(&path)
        .and_then(|mut file| file.write_all(init))
        .map_err(FileError::on("write", &path))?;
    permit_all(&path)?;
    permit_all(&tree)?;
    Ok(tree)
}

/// `rwxr-xr-x`, whatever the umask.
fn permit_all(path: &Path) -> Result<(), FileError> {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(path, mode).map_err(FileError::on("change the mode of", path))
}

fn run_mkfs(
    disk: &Path,
    tree: &Path,
    layout: DiskLayout,
    staging: Staging,
) -> Result<(), DiskError> {
    let mut command = Command::new(MKFS);
    command
        .arg("--quiet")
        .args(layout.option())
        .arg(std::path::absolute(disk).map_err(FileError::on("find", disk))?)
        .arg(std::path::absolute(tree).map_err(FileError::on("find", tree))?)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let failed_step = staging.before_exec(&mut command)?;
    let child = match command.spawn() {
        Ok(child) => child,
        Err(source) => {
            drop(command);
            return Err(match failed_step.read() {
                Some(step) => DiskError::Staging { step, source },
                None if source.kind() == io::ErrorKind::NotFound => DiskError::NoMkfs,
                None => DiskError::Start(source),
            });
        }
    };
    let output = child.wait_with_output().map_err(DiskError::Start)?;
    if !output.status.success() {
        let message = last_lines(&output.stderr);
        return Err(DiskError::Mkfs { status: output.status, message });
    }
    Ok(())
}

/// The end of what a program said, short enough for a message.
fn last_lines(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
}

/// Reads the one byte that a child may have written to a pipe.
fn read_byte(pipe: &mut File) -> Option<u8> {
    let mut byte = [0];
    (pipe.read(&mut byte).ok()? == 1).then_some(byte[0])
}
