//! Lines in a bounded number of bounded files.
//!
//! The files are numbered. A file that is full is followed by the next, and the oldest is
//! removed; none is ever renamed, so that whoever reads one knows which comes after it.

mod follow;
mod read;
mod write;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use follow::Changes;
pub use read::Reader;
pub use write::Writer;

/// Failure to keep or read lines.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct JournalError {
    /// What was being done.
    action: &'static str,
    /// On what.
    path: PathBuf,
    /// What the kernel said.
    #[source]
    source: io::Error,
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    let path = path.to_owned();
    move |source| JournalError { action, path, source }
}

fn file_name(number: u64) -> String {
    format!("{number:08}")
}

/// The numbers of the files in `dir`, oldest first; none when it does not exist.
fn numbers(dir: &Path) -> Result<Vec<u64>, JournalError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(io_error("list", dir))?,
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry.map_err(io_error("list", dir))?.file_name();
        let digits = name.to_str().filter(|name| name.bytes().all(|b| b.is_ascii_digit()));
        numbers.extend(digits.and_then(|name| name.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(dir: &Path) -> Vec<String> {
        let mut reader = Reader::open(dir).unwrap();
        let mut lines = Vec::new();
        while let Some(line) = reader.next_line().unwrap() {
            lines.push(String::from_utf8(line).unwrap());
        }
        lines
    }

    #[test]
    fn the_newest_lines_stay_and_the_files_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(dir.path(), 100, 3).unwrap();
        for number in 0..100 {
            writer.append(format!("line {number}\n").as_bytes()).unwrap();
        }
        let lines = all(dir.path());
        assert_eq!(lines.last().unwrap(), "line 99");
        let first: usize = lines[0][5..].parse().unwrap();
        assert_eq!(lines.len(), 100 - first, "without a gap");
        let files = numbers(dir.path()).unwrap();
        assert_eq!(files.len(), 3);
        for number in files {
            assert!(fs::metadata(dir.path().join(file_name(number))).unwrap().len() <= 100);
        }
    }

    #[test]
    fn a_reader_follows_from_file_to_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(dir.path(), 20, 50).unwrap();
        let mut reader = Reader::open(dir.path()).unwrap();
        for number in 0..60 {
            let line = format!("line {number}");
            writer.append(format!("{line}\n").as_bytes()).unwrap();
            assert_eq!(reader.next_line().unwrap(), Some(line.into_bytes()));
            assert_eq!(reader.next_line().unwrap(), None);
        }
    }

    #[test]
    fn a_line_that_a_kill_cut_short_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(dir.path(), 1000, 3).unwrap();
        writer.append(b"whole\n").unwrap();
        writer.append(b"cut sh").unwrap();
        assert_eq!(all(dir.path()), ["whole"]);
        let mut writer = Writer::open(dir.path(), 1000, 3).unwrap();
        writer.append(b"next\n").unwrap();
        assert_eq!(all(dir.path()), ["whole", "cut sh", "next"]);
    }

    #[test]
    fn what_never_was_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        assert!(all(&dir.path().join("nowhere")).is_empty());
    }

    proptest! {
        #[test]
        fn what_is_read_is_the_end_of_what_was_written(
            lines in prop::collection::vec("[a-z]{0,40}", 1..80),
            bytes in 1_u64..200,
            files in 1_u32..5,
        ) {
            let dir = tempfile::tempdir().unwrap();
            for chunk in lines.chunks(7) {
                let mut writer = Writer::open(dir.path(), bytes, files).unwrap();
                for line in chunk {
                    writer.append(format!("{line}\n").as_bytes()).unwrap();
                }
            }
            let read = all(dir.path());
            prop_assert!(lines.ends_with(&read));
            prop_assert!(!read.is_empty());
            prop_assert!(numbers(dir.path()).unwrap().len() <= files as usize);
        }
    }
}
