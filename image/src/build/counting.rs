//! A reader that knows how far it has come.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

/// A buffered file.
#[derive(Debug)]
pub(super) struct Counting {
    inner: BufReader<File>,
    at: u64,
}

impl Counting {
    /// Reads a file that is at its start.
    pub fn new(file: File) -> Self {
        Self { inner: BufReader::with_capacity(128 * 1024, file), at: 0 }
    }

    /// Bytes that have been taken out of it.
    pub fn position(&self) -> u64 {
        self.at
    }
}

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl BufRead for Counting {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.at += count as u64;
        self.inner.consume(count);
    }
}
