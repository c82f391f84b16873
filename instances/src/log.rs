//! What a workload wrote: the format kubelets read.
//!
//! One record to a line: `<time> <stream> <F|P> <bytes>`. `F` is a whole line, whose end is
//! left out; `P` a part that goes on in the next record of the stream. The bytes are as
//! they were written: a log gives back exactly what it was given.

use std::io::Write as _;
use std::path::Path;

use crate::journal::{JournalError, Reader, Writer};
use crate::{LogLimits, Timestamp};

/// Longest record; a longer line is kept in parts.
const LONGEST: usize = 16 * 1024;

/// One of a workload's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// What it has to say.
    Stdout,
    /// What it has to say about that.
    Stderr,
}

impl Stream {
    fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A line, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When it was written.
    pub time: Timestamp,
    /// To which output.
    pub stream: Stream,
    /// It ends a line.
    pub ends_line: bool,
    /// What was written, without the end of the line.
    pub bytes: Vec<u8>,
}

impl Record {
    /// Reads a line of a log; `None` when it is not one.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut parts = line.splitn(4, |&byte| byte == b' ');
        let mut word = || parts.next();
        let time = std::str::from_utf8(word()?).ok()?.parse().ok()?;
        let stream = match word()? {
            b"stdout" => Stream::Stdout,
            b"stderr" => Stream::Stderr,
            _ => return None,
        };
        let ends_line = match word()? {
            b"F" => true,
            b"P" => false,
            _ => return None,
        };
        Some(Self { time, stream, ends_line, bytes: word()?.to_vec() })
    }

    /// Appends the line of a log.
    fn write(stream: Stream, time: &str, tag: char, bytes: &[u8], to: &mut Vec<u8>) {
        // Writing to memory does not fail.
        let _ = write!(to, "{time} {} {tag} ", stream.as_str());
        to.extend_from_slice(bytes);
        to.push(b'\n');
    }
}

/// The writing end of a log.
#[derive(Debug)]
pub struct LogWriter {
    writer: Writer,
    record: Vec<u8>,
}

impl LogWriter {
    /// Goes on with the log in `dir`.
    ///
    /// # Errors
    ///
    /// When its newest file cannot be opened.
    pub fn open(dir: &Path, limits: LogLimits) -> Result<Self, JournalError> {
        let writer = Writer::open(dir, limits.file_bytes, limits.files)?;
        Ok(Self { writer, record: Vec::new() })
    }

    /// Keeps what was written to `stream`.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn append(&mut self, stream: Stream, bytes: &[u8]) -> Result<(), JournalError> {
        let time = Timestamp::now().to_string();
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, ends) = match line.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (line, false),
            };
            let mut parts = text.chunks(LONGEST).peekable();
            self.record.clear();
            if parts.peek().is_none() {
                Record::write(
                    stream,
                    &time,
                    if ends { 'F' } else { 'P' },
                    b"",
                    &mut self.record,
                );
            }
            while let Some(part) = parts.next() {
                let whole = ends && parts.peek().is_none();
                let tag = if whole { 'F' } else { 'P' };
                Record::write(stream, &time, tag, part, &mut self.record);
            }
            self.writer.append(&self.record)?;
        }
        Ok(())
    }
}

/// The reading end.
#[derive(Debug)]
pub struct LogReader(Reader);

impl LogReader {
    /// Begins with the oldest record that is kept in `dir`.
    ///
    /// # Errors
    ///
    /// When it cannot be listed.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        Reader::open(dir).map(Self)
    }

    /// The next record that is there now.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub fn next_record(&mut self) -> Result<Option<Record>, JournalError> {
        while let Some(line) = self.0.next_line()? {
            if let Some(record) = Record::parse(&line) {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }
}

/// Keeps the last so many lines of records that come one after the other.
#[derive(Debug)]
pub struct Tail {
    most: usize,
    records: std::collections::VecDeque<Record>,
    ends: usize,
}

impl Tail {
    /// Of `most` lines.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, records: std::collections::VecDeque::new(), ends: 0 }
    }

    /// Takes a record and forgets what is no longer among the last.
    pub fn push(&mut self, record: Record) {
        self.ends += usize::from(record.ends_line);
        self.records.push_back(record);
        while self.lines() > self.most {
            let Some(gone) = self.records.pop_front() else { break };
            self.ends -= usize::from(gone.ends_line);
        }
    }

    /// A line that has not ended yet counts.
    fn lines(&self) -> usize {
        let open = self.records.back().is_some_and(|last| !last.ends_line);
        self.ends + usize::from(open)
    }

    /// What is kept, oldest first.
    pub fn into_records(self) -> impl Iterator<Item = Record> {
        self.records.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn records(dir: &Path) -> Vec<Record> {
        let mut reader = LogReader::open(dir).unwrap();
        std::iter::from_fn(|| reader.next_record().unwrap()).collect()
    }

    fn text(records: impl IntoIterator<Item = Record>, stream: Stream) -> Vec<u8> {
        let mut text = Vec::new();
        for record in records.into_iter().filter(|record| record.stream == stream) {
            text.extend(record.bytes);
            if record.ends_line {
                text.push(b'\n');
            }
        }
        text
    }

    proptest! {
        #[test]
        fn a_log_gives_back_what_it_was_given(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut log = LogWriter::open(dir.path(), LogLimits::default()).unwrap();
            for chunk in &chunks {
                log.append(Stream::Stdout, chunk).unwrap();
                log.append(Stream::Stderr, b"x\n").unwrap();
            }
            let read = records(dir.path());
            prop_assert_eq!(text(read.clone(), Stream::Stdout), chunks.concat());
            prop_assert_eq!(text(read, Stream::Stderr).len(), chunks.len() * 2);
        }
    }

    #[test]
    fn long_lines_are_kept_in_parts() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::open(dir.path(), LogLimits::default()).unwrap();
        let long = [vec![b'a'; 2 * LONGEST], b"end\nnext\n".to_vec()].concat();
        log.append(Stream::Stdout, &long).unwrap();
        let read = records(dir.path());
        let ends: Vec<bool> = read.iter().map(|record| record.ends_line).collect();
        assert_eq!(ends, [false, false, true, true]);
        assert_eq!(text(read, Stream::Stdout), long);
    }

    #[test]
    fn a_tail_is_the_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogWriter::open(dir.path(), LogLimits::default()).unwrap();
        log.append(Stream::Stdout, b"1\n2\n3\n4").unwrap();
        let last = |most| {
            let mut tail = Tail::new(most);
            records(dir.path()).into_iter().for_each(|record| tail.push(record));
            text(tail.into_records(), Stream::Stdout)
        };
        assert_eq!(last(2), b"3\n4");
        assert_eq!(last(9), b"1\n2\n3\n4");
        assert_eq!(last(0), b"");
        log.append(Stream::Stdout, b"5\n").unwrap();
        assert_eq!(last(2), b"3\n45\n");
    }

    #[test]
    fn what_is_no_record_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let limits = LogLimits::default();
        let mut raw = Writer::open(dir.path(), limits.file_bytes, limits.files).unwrap();
        raw.append(b"nonsense\n\n2026-01-01T00:00:00Z stdout X a\n").unwrap();
        let mut log = LogWriter::open(dir.path(), limits).unwrap();
        log.append(Stream::Stderr, b"kept\n").unwrap();
        assert_eq!(text(records(dir.path()), Stream::Stderr), b"kept\n");
    }
}
