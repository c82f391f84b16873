//! Reading a file of the image and writing files of one's own.
//!
//! Reads go through the wall's read-only layer, writes through its writable
//! one. Caches are what makes the difference, so each operation says what it
//! finds in them: `first` reads what nothing in this sandbox has read before,
//! `warm` what it has just read. The host's own cache is the harness's
//! business: a container shares it, so that its first read may find everything
//! there; a guest has one of its own, which is empty.
//!
//! Transfers are counted in bytes (a line's iterations are bytes), accesses at
//! random places in calls.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{Operation, repeat, report};
use crate::line::{Line, Outcome};
use crate::sys::{check, now_ns};

/// What one call of a sequential transfer moves.
const CHUNK: usize = 64 << 10;
/// What one access at a random place moves.
const BLOCK: usize = 4 << 10;
/// Sequential transfers move this much in a round: little, for guests in which a
/// page written takes milliseconds.
const LENGTH: u64 = 512 << 10;
/// Accesses in a round of an operation at random places.
const ACCESSES: u64 = 16;

/// Where the files are.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// A file of the image, at least twice as long as a sequential transfer: its
    /// first part is read in sequence, the second at random.
    pub image_file: &'a Path,
    /// A directory of the writable layer.
    pub scratch: &'a Path,
}

/// Measures every file operation.
pub fn measure(place: Place<'_>, slice_ns: u64, emit: &mut dyn FnMut(&Line)) {
    read_image(place.image_file, slice_ns, emit);
    write_layer(place.scratch, slice_ns, emit);
}

fn read_image(path: &Path, slice_ns: u64, emit: &mut dyn FnMut(&Line)) {
    let sequential = || -> io::Result<_> {
        Ok(Sequential { file: long_enough(path)?, buffer: buffer(CHUNK) })
    };
    let random = || -> io::Result<_> {
        let file = long_enough(path)?;
        // Read-ahead would turn random accesses into a sequential transfer.
        // SAFETY: advice about a descriptor touches no memory.
        let advised =
            unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_RANDOM) };
        if advised != 0 {
            return Err(io::Error::from_raw_os_error(advised));
        }
        Ok(Random { file, start: LENGTH, buffer: buffer(BLOCK), write: false, sync: false })
    };
    report("image_read_first", emit, |emit| once("image_read_first", &mut sequential()?, emit));
    report("image_read_warm", emit, |emit| {
        repeat("image_read_warm", &mut sequential()?, slice_ns, 1, emit)
    });
    report("image_random_read_first", emit, |emit| {
        once("image_random_read_first", &mut random()?, emit)
    });
    report("image_random_read_warm", emit, |emit| {
        repeat("image_random_read_warm", &mut random()?, slice_ns, 1, emit)
    });
}

fn write_layer(directory: &Path, slice_ns: u64, emit: &mut dyn FnMut(&Line)) {
    let scratch = Scratch(directory.join(format!("probe-{}", std::process::id())));
    for (name, sync) in [("layer_write", false), ("layer_write_fsync", true)] {
        report(name, emit, |emit| {
            let mut write = Rewrite { path: &scratch.0, buffer: buffer(CHUNK), sync };
            repeat(name, &mut write, slice_ns, 1, emit)
        });
    }
    report("layer_read_warm", emit, |emit| {
        let mut read = Sequential { file: File::open(&scratch.0)?, buffer: buffer(CHUNK) };
        repeat("layer_read_warm", &mut read, slice_ns, 1, emit)
    });
    let random = [
        ("layer_random_read_warm", false, false),
        ("layer_random_write", true, false),
        ("layer_random_write_fsync", true, true),
    ];
    for (name, write, sync) in random {
        report(name, emit, |emit| {
            let file = File::options().read(true).write(true).open(&scratch.0)?;
            let mut access = Random { file, start: 0, buffer: buffer(BLOCK), write, sync };
            repeat(name, &mut access, slice_ns, 1, emit)
        });
    }
}

/// The file of the image, if it is as long as it must be.
fn long_enough(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    if file.metadata()?.len() < 2 * LENGTH {
        return Err(io::Error::from_raw_os_error(libc::ENODATA));
    }
    Ok(file)
}

/// Times one round, without one before it: what is measured is the first time.
fn once(
    name: &str,
    operation: &mut dyn Operation,
    emit: &mut dyn FnMut(&Line),
) -> io::Result<()> {
    let start = now_ns();
    operation.run(1)?;
    let total_ns = now_ns().saturating_sub(start);
    let outcome = Outcome::Timed { iterations: operation.per_round(), total_ns };
    emit(&Line { operation: name.to_owned(), outcome });
    Ok(())
}

/// A buffer whose pages have been touched; a page's first touch is not a file's.
fn buffer(length: usize) -> Vec<u8> {
    vec![0xA5; length]
}

/// A file that is removed when this is dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // Where it could not be made there is none to remove.
        let _ = fs::remove_file(&self.0);
    }
}

/// Reads the first part of a file.
struct Sequential {
    file: File,
    buffer: Vec<u8>,
}

impl Operation for Sequential {
    fn run(&mut self, rounds: u64) -> io::Result<()> {
        for _ in 0..rounds {
            for offset in (0..LENGTH).step_by(CHUNK) {
                self.file.read_exact_at(&mut self.buffer, offset)?;
            }
        }
        Ok(())
    }

    fn per_round(&self) -> u64 {
        LENGTH
    }
}

/// Writes a file anew, from its creation to its last byte or to its `fsync`.
struct Rewrite<'a> {
    path: &'a Path,
    buffer: Vec<u8>,
    sync: bool,
}

impl Operation for Rewrite<'_> {
    fn run(&mut self, rounds: u64) -> io::Result<()> {
        for _ in 0..rounds {
            let file = File::create(self.path)?;
            for offset in (0..LENGTH).step_by(CHUNK) {
                file.write_all_at(&self.buffer, offset)?;
            }
            if self.sync {
                file.sync_all()?;
            }
        }
        Ok(())
    }

    fn per_round(&self) -> u64 {
        LENGTH
    }
}

/// Reads or writes blocks of a file in an order without order, the same every
/// time.
struct Random {
    file: File,
    /// Where in the file the part begins that is accessed.
    start: u64,
    buffer: Vec<u8>,
    write: bool,
    /// Each write is followed by an `fsync`.
    sync: bool,
}

impl Operation for Random {
    fn run(&mut self, rounds: u64) -> io::Result<()> {
        for access in (0..rounds).flat_map(|_| 0..ACCESSES) {
            let offset = self.start + place(access);
            if self.write {
                self.file.write_all_at(&self.buffer, offset)?;
            } else {
                self.file.read_exact_at(&mut self.buffer, offset)?;
            }
            if self.sync {
                // SAFETY: the descriptor is that of an open file.
                check(unsafe { libc::fsync(self.file.as_raw_fd()) })?;
            }
        }
        Ok(())
    }

    fn per_round(&self) -> u64 {
        ACCESSES
    }
}

/// The offset of access `number`: a multiple of a number that has no divisor in
/// common with the number of blocks visits each block once before any twice.
fn place(number: u64) -> u64 {
    const STRIDE: u64 = 197;
    let blocks = LENGTH / BLOCK as u64;
    number * STRIDE % blocks * BLOCK as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn lines(image_file: &Path, scratch: &Path) -> Vec<Line> {
        let mut lines = Vec::new();
        measure(Place { image_file, scratch }, 1_000, &mut |line| lines.push(line.clone()));
        lines
    }

    #[test]
    fn everything_is_measured_and_nothing_left() {
        let dir = tempfile::tempdir().unwrap();
        let data = tempfile::NamedTempFile::new().unwrap();
        data.as_file().set_len(2 * LENGTH).unwrap();
        let lines = lines(data.path(), dir.path());
        let names: BTreeSet<_> = lines.iter().map(|line| line.operation.as_str()).collect();
        assert_eq!((names.len(), lines.len()), (10, 10));
        for line in &lines {
            let Outcome::Timed { iterations, .. } = line.outcome else { panic!("{line:?}") };
            let unit = if line.operation.contains("random") { ACCESSES } else { LENGTH };
            assert_eq!(iterations % unit, 0, "{line:?}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_missing_or_short_is_said_of_each_operation() {
        let short = tempfile::NamedTempFile::new().unwrap();
        for (image_file, errno) in
            [(Path::new("/nonexistent"), libc::ENOENT), (short.path(), libc::ENODATA)]
        {
            let lines = lines(image_file, Path::new("/nonexistent"));
            assert_eq!(lines.len(), 10);
            for line in lines {
                let expected =
                    if line.operation.starts_with("image") { errno } else { libc::ENOENT };
                assert_eq!(line.outcome, Outcome::Failed { errno: expected }, "{line}");
            }
        }
    }

    #[test]
    fn random_places_are_all_different_and_within() {
        let places: BTreeSet<_> = (0..LENGTH / BLOCK as u64).map(place).collect();
        assert_eq!(places.len() as u64, LENGTH / BLOCK as u64);
        assert!(places.iter().all(|at| at + BLOCK as u64 <= LENGTH));
    }
}
