//! Debian's kernel source: finding it and unpacking what is needed of it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::tool::{die_with_us, missing_or};
use super::{BuildError, Progress, Stage};
use crate::catalogue::CatalogueError;

/// Where the package `linux-source-6.1` puts the archive.
const ARCHIVE: &str = "/usr/src/linux-source-6.1.tar.xz";

/// Files that our configuration never compiles, two thirds of the tree. Their
/// directories' Kconfig and Makefiles stay: the build reads all of them.
const NOT_NEEDED: &[&str] = &[
    "*/Documentation/*.rst",
    "*/Documentation/*.yaml",
    "*/Documentation/*.txt",
    "*/arch/[a-w]*/*.[chS]",
    "*/arch/[a-w]*/*.dts*",
    "*/arch/xtensa/*.[chS]",
    "*/drivers/gpu/*.[ch]",
    "*/drivers/infiniband/*.[ch]",
    "*/drivers/media/*.[ch]",
    "*/drivers/net/ethernet/*.[ch]",
    "*/drivers/net/wireless/*.[ch]",
    "*/drivers/scsi/*.[ch]",
    "*/drivers/staging/*.[ch]",
    "*/drivers/usb/*.[ch]",
    "*/sound/*.[ch]",
    "*/tools/testing/*",
    "*/tools/perf/*",
];

/// An installed source package.
#[derive(Debug)]
pub struct Source {
    archive: PathBuf,
    /// Version of the Debian package.
    pub version: String,
}

/// Finds the source package.
pub fn find() -> Result<Source, BuildError> {
    let archive = PathBuf::from(ARCHIVE);
    if !archive.exists() {
        return Err(BuildError::NoSource { path: archive });
    }
    let query = Command::new("dpkg-query")
        .args(["-W", "-f", "${Version}", "linux-source-6.1"])
        .stdin(Stdio::null())
        .output()
        .map_err(|source| missing_or(source, "dpkg-query"))?;
    let version = String::from_utf8_lossy(&query.stdout).trim().to_owned();
    if !query.status.success() || version.is_empty() {
        return Err(BuildError::NoSource { path: archive });
    }
    Ok(Source { archive, version })
}

impl Source {
    /// Unpacks into `tree`, which is made.
    pub fn unpack(&self, tree: &Path, progress: &mut dyn Progress) -> Result<(), BuildError> {
        fs::create_dir_all(tree).map_err(CatalogueError::io("create", tree))?;
        let unreadable = |source| BuildError::ReadSource { path: self.archive.clone(), source };
        let mut archive = File::open(&self.archive).map_err(unreadable)?;
        let total = archive.metadata().map_err(unreadable)?.len();
        let mut tar = Command::new("tar");
        tar.args(["--extract", "--xz", "--strip-components=1", "--no-same-owner", "-f", "-"])
            .args(NOT_NEEDED.iter().map(|pattern| format!("--exclude={pattern}")))
            .arg("-C")
            .arg(tree)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped());
        die_with_us(&mut tar);
        let mut child = tar.spawn().map_err(|source| missing_or(source, "tar"))?;
        let fed = match child.stdin.take() {
            Some(mut stdin) => feed(&mut archive, &mut stdin, total, progress),
            None => Ok(()),
        };
        let talk = |source| BuildError::Spawn { program: "tar".to_owned(), source };
        let output = child.wait_with_output().map_err(talk)?;
        if !output.status.success() {
            // It says why better than the pipe that it broke.
            return Err(BuildError::Failed {
                command: "tar --extract --xz".to_owned(),
                status: output.status,
                last_lines: String::from_utf8_lossy(&output.stderr).into_owned(),
            });
        }
        fed.map_err(unreadable)
    }
}

fn feed(
    from: &mut impl Read,
    to: &mut impl Write,
    total: u64,
    progress: &mut dyn Progress,
) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0;
    loop {
        progress.step(Stage::Unpack, done, total);
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..read])?;
        done += read as u64;
    }
}
