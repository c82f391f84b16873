//! Standard output: the one way in which verbs write to it.
//!
//! A reader that goes away early (`bulkhead … | head -1`) has what it wanted. That
//! is no failure: what is left to say is dropped, the verb does the rest of its
//! work, and its exit code says how that went.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use serde::Serialize;

use crate::failure::Failure;

/// Standard output cannot be written: a full disk, a closed descriptor.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub struct StdoutError(#[source] io::Error);

/// Writes `text` as it is.
pub fn text(text: &str) -> Result<(), StdoutError> {
    bytes(text.as_bytes())
}

/// Writes `text` and ends the line.
pub fn line(text: impl Display) -> Result<(), StdoutError> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes `value` for a program to read.
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    Ok(line(serde_json::to_string_pretty(value)?)?)
}

/// Writes `bytes` as they are.
pub fn bytes(bytes: &[u8]) -> Result<(), StdoutError> {
    write(&mut io::stdout().lock(), bytes)
}

fn write(output: &mut impl Write, bytes: &[u8]) -> Result<(), StdoutError> {
    // What stays in a buffer until the process ends fails without a word.
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(StdoutError(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_reader_that_is_gone_is_no_failure() {
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        assert!(write(&mut writer, b"nobody listens").is_ok());
    }

    #[test]
    fn anything_else_that_cannot_be_written_is_one() {
        let mut full = File::options().write(true).open("/dev/full").unwrap();
        let StdoutError(source) = write(&mut full, b"too much").unwrap_err();
        assert_eq!(source.kind(), ErrorKind::StorageFull);
    }
}
