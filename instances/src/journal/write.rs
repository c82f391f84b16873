//! The writing end.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{JournalError, file_name, io_error, numbers};

/// Appends lines, beginning a new file when one is full.
#[derive(Debug)]
pub struct Writer {
    dir: PathBuf,
    file_bytes: u64,
    files: u32,
    number: u64,
    file: File,
    size: u64,
}

impl Writer {
    /// Goes on where `dir` ends; it is made when it is not there.
    ///
    /// # Errors
    ///
    /// When its newest file cannot be opened.
    pub fn open(dir: &Path, file_bytes: u64, files: u32) -> Result<Self, JournalError> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(dir).map_err(io_error("create", dir))?;
        let number = numbers(dir)?.last().copied().unwrap_or(0);
        let (file, size) = open(dir, number)?;
        let mut writer =
            Self { dir: dir.to_owned(), file_bytes, files: files.max(1), number, file, size };
        writer.end_line().map_err(io_error("write", dir))?;
        Ok(writer)
    }

    /// Ends a line that was cut short when a writer was killed.
    fn end_line(&mut self) -> io::Result<()> {
        if self.size == 0 {
            return Ok(());
        }
        let mut last = [0];
        self.file.seek(SeekFrom::End(-1))?;
        self.file.read_exact(&mut last)?;
        if last != *b"\n" {
            self.file.write_all(b"\n")?;
            self.size += 1;
        }
        Ok(())
    }

    /// Appends `lines`, which end with a newline and go into one file.
    ///
    /// # Errors
    ///
    /// When they cannot be written; what was written before is not lost.
    pub fn append(&mut self, lines: &[u8]) -> Result<(), JournalError> {
        let bytes = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        if self.size > 0 && self.size.saturating_add(bytes) > self.file_bytes {
            self.begin_next()?;
        }
        // In one call, so that two writers do not mix.
        match self.file.write_all(lines) {
            Ok(()) => {
                self.size += bytes;
                Ok(())
            }
            Err(error) => {
                // What came of it is no line.
                let _ = self.file.set_len(self.size);
                Err(io_error("write", &self.dir.join(file_name(self.number)))(error))
            }
        }
    }

    fn begin_next(&mut self) -> Result<(), JournalError> {
        let next = self.number + 1;
        (self.file, self.size) = open(&self.dir, next)?;
        self.number = next;
        let all = numbers(&self.dir)?;
        let most = usize::try_from(self.files).unwrap_or(usize::MAX);
        for number in &all[..all.len().saturating_sub(most)] {
            let path = self.dir.join(file_name(*number));
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(io_error("remove", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn open(dir: &Path, number: u64) -> Result<(File, u64), JournalError> {
    let path = dir.join(file_name(number));
    let mut options = File::options();
    options.read(true).append(true).create(true).mode(0o600);
    let file = options.open(&path).map_err(io_error("open", &path))?;
    let size = file.metadata().map_err(io_error("examine", &path))?.len();
    Ok((file, size))
}
