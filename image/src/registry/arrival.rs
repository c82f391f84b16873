//! A file that is read while it is written.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A blob on its way in.
#[derive(Debug)]
pub(crate) struct Arrival {
    file: File,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// Bytes that may be read.
    there: u64,
    /// How it ended, once it has.
    end: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Failed,
}

impl Arrival {
    /// Of a file that is written to from now on.
    pub(super) fn new(file: File) -> Self {
        let state = Mutex::new(State { there: 0, end: None });
        Self { file, state, changed: Condvar::new() }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Lets readers have everything before `bytes`.
    pub(super) fn there_are(&self, bytes: u64) {
        self.state().there = bytes;
        self.changed.notify_all();
    }

    /// Tells readers that there will not be more.
    pub(super) fn end(&self, whole: bool) {
        self.state().end = Some(if whole { End::Whole } else { End::Failed });
        self.changed.notify_all();
    }

    /// Reads it from its start, waiting for what is not there yet. A transfer that
    /// fails is an error of the kind `ConnectionAborted`.
    pub fn reader(self: &Arc<Self>) -> impl Read + Send + use<> {
        Reader { of: self.clone(), position: 0 }
    }

    /// What is guarded is whole numbers: a panic elsewhere leaves them right.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Reader {
    of: Arc<Arrival>,
    position: u64,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let state = *self
            .of
            .changed
            .wait_while(self.of.state(), |state| {
                state.there <= self.position && state.end.is_none()
            })
            .unwrap_or_else(PoisonError::into_inner);
        if state.end == Some(End::Failed) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let available = state.there.saturating_sub(self.position);
        let len = usize::try_from(available).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.of.file.read_at(&mut buffer[..len], self.position)?;
        self.position += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_reader_waits_for_what_is_not_there_yet() {
        let arrival = Arc::new(Arrival::new(tempfile::tempfile().unwrap()));
        let mut reader = arrival.reader();
        let text = thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        for (at, piece) in [(0, "one "), (4, "two "), (8, "three")] {
            arrival.file().write_all_at(piece.as_bytes(), at).unwrap();
            arrival.there_are(at + piece.len() as u64);
            thread::yield_now();
        }
        arrival.end(true);
        assert_eq!(text.join().unwrap().unwrap(), "one two three");
    }

    #[test]
    fn a_reader_of_what_never_comes_hears_of_it() {
        let arrival = Arc::new(Arrival::new(tempfile::tempfile().unwrap()));
        let mut reader = arrival.reader();
        arrival.end(false);
        let error = reader.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    }
}
