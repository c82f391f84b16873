//! The reading end.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::{JournalError, file_name, io_error, numbers};

/// How much is read at a time.
const CHUNK: usize = 64 * 1024;

/// Longest line; more is no line of ours.
const LONGEST: usize = 1 << 20;

/// Reads lines, oldest first, while others are written.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    /// The file that is read; the next one to be looked for when there is none yet.
    file: Option<File>,
    number: u64,
    buffer: Vec<u8>,
    /// Where in the buffer the next line begins.
    at: usize,
}

impl Reader {
    /// Begins with the oldest line in `dir`, which need not exist yet.
    ///
    /// # Errors
    ///
    /// When it cannot be listed.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        let number = numbers(dir)?.first().copied().unwrap_or(0);
        Ok(Self { dir: dir.to_owned(), file: None, number, buffer: Vec::new(), at: 0 })
    }

    /// The next line without its end, or nothing when no whole line is there now.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, JournalError> {
        loop {
            let rest = &self.buffer[self.at..];
            if let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                let line = rest[..end].to_vec();
                self.at += end + 1;
                return Ok(Some(line));
            }
            if rest.len() > LONGEST {
                self.at = self.buffer.len();
            }
            if !self.fill()? && !self.go_on()? {
                return Ok(None);
            }
        }
    }

    /// Reads more of the file. False when there is none now.
    fn fill(&mut self) -> Result<bool, JournalError> {
        let path = self.dir.join(file_name(self.number));
        if self.file.is_none() {
            match File::open(&path) {
                Ok(file) => self.file = Some(file),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(io_error("open", &path)(error)),
            }
        }
        let Some(file) = &mut self.file else { return Ok(false) };
        self.buffer.drain(..self.at);
        self.at = 0;
        let before = self.buffer.len();
        self.buffer.resize(before + CHUNK, 0);
        let read = file.read(&mut self.buffer[before..]);
        self.buffer.truncate(before + *read.as_ref().unwrap_or(&0));
        Ok(read.map_err(io_error("read", &path))? > 0)
    }

    /// Goes on to the next file, if there is one.
    fn go_on(&mut self) -> Result<bool, JournalError> {
        let next = numbers(&self.dir)?.into_iter().find(|&number| number > self.number);
        let Some(next) = next else { return Ok(false) };
        // A file that has a successor is written no more; but that may have changed
        // since it was read last.
        if self.fill()? {
            return Ok(true);
        }
        (self.file, self.number) = (None, next);
        self.buffer.clear();
        self.at = 0;
        Ok(true)
    }
}
