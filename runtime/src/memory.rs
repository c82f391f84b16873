//! Memory of the host and of its processes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Memory use that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The file lacks a line.
    #[error("{} has no line `{key}`", path.display())]
    NoLine {
        /// The file.
        path: PathBuf,
        /// What the line should begin with.
        key: &'static str,
    },
}

/// Memory that could be had without swapping, bytes (`MemAvailable`).
///
/// # Errors
///
/// [`MemoryError`].
pub fn available_bytes() -> Result<u64, MemoryError> {
    field(Path::new("/proc/meminfo"), "MemAvailable:")
}

/// All memory, bytes (`MemTotal`).
///
/// # Errors
///
/// [`MemoryError`].
pub fn total_bytes() -> Result<u64, MemoryError> {
    field(Path::new("/proc/meminfo"), "MemTotal:")
}

/// What one process holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessMemory {
    /// Resident set size, bytes: all pages it has touched that are in memory.
    pub rss: u64,
    /// Proportional set size, bytes: its private pages and its share of those it
    /// has in common with others.
    pub pss: u64,
    /// Its private pages, bytes: those that no other process maps.
    pub private: u64,
}

impl ProcessMemory {
    /// Pages that other processes map too, bytes.
    #[must_use]
    pub fn shared(&self) -> u64 {
        self.rss.saturating_sub(self.private)
    }
}

impl std::iter::Sum for ProcessMemory {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            rss: sum.rss + one.rss,
            pss: sum.pss + one.pss,
            private: sum.private + one.private,
        })
    }
}

/// What process `pid` holds, all figures from one reading.
///
/// # Errors
///
/// [`MemoryError`] when there is no such process, or it is another user's.
pub fn process(pid: i32) -> Result<ProcessMemory, MemoryError> {
    let path = PathBuf::from(format!("/proc/{pid}/smaps_rollup"));
    let text = read(&path)?;
    let of = |key| value(&path, &text, key);
    let private = of("Private_Clean:")?.saturating_add(of("Private_Dirty:")?);
    Ok(ProcessMemory { rss: of("Rss:")?, pss: of("Pss:")?, private })
}

fn field(path: &Path, key: &'static str) -> Result<u64, MemoryError> {
    value(path, &read(path)?, key)
}

fn read(path: &Path) -> Result<String, MemoryError> {
    fs::read_to_string(path)
        .map_err(|source| MemoryError::Read { path: path.to_owned(), source })
}

fn value(path: &Path, text: &str, key: &'static str) -> Result<u64, MemoryError> {
    parse(text, key).ok_or_else(|| MemoryError::NoLine { path: path.to_owned(), key })
}

/// The value of the line `key   123 kB`, in bytes.
fn parse(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kibibytes: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_this_process_and_this_host() {
        let own = process(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(0 < own.private && own.private <= own.pss && own.pss <= own.rss);
        assert!(own.rss < total_bytes().unwrap() && own.shared() < own.rss);
        assert!(available_bytes().unwrap() <= total_bytes().unwrap());
        assert!(matches!(process(-1), Err(MemoryError::Read { .. })));
    }

    #[test]
    fn parses_the_lines_of_proc() {
        let text = "Rss:   600 kB\nPss:                 117 kB\nPss_Dirty:  8 kB\n";
        assert_eq!(parse(text, "Pss:"), Some(117 * 1024));
        assert_eq!(parse(text, "Swap:"), None);
        assert_eq!(parse("Pss: 18446744073709551615 kB", "Pss:"), None);
    }

    proptest! {
        #[test]
        fn never_panics(text: String) {
            parse(&text, "Pss:");
        }
    }
}
