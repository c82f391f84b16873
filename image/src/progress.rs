//! How a caller follows a long operation; what it shows is its own business.

use std::io::{self, Read};

/// What is being done, as one word for a progress line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Content is copied into the store and its digest checked.
    Copy,
    /// A layer is decompressed and written out.
    Unpack,
    /// What was written is brought to the disk and made visible.
    Publish,
}

/// Told how far an operation has come. Called often: must be quick.
pub trait Progress: Sync {
    /// A stage begins; `total_bytes` is what it will read, where known.
    fn begin(&self, stage: Stage, total_bytes: Option<u64>);
    /// `bytes` more of the current stage's input have been read.
    fn advance(&self, bytes: u64);
}

/// Tells how far reading has come.
pub(crate) struct Watched<'a, R> {
    pub inner: R,
    pub progress: &'a dyn Progress,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.progress.advance(n as u64);
        Ok(n)
    }
}

/// For callers that do not want to know.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn begin(&self, _stage: Stage, _total_bytes: Option<u64>) {}
    fn advance(&self, _bytes: u64) {}
}
