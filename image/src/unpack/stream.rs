//! The decompressed bytes of a layer, made on a thread of their own.
//!
//! Decompressing and hashing take about as long as creating the files, so the
//! two run side by side, a few buffers apart.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use super::{LimitError, UnpackLimits};
use crate::Digest;
use crate::compression::Compression;
use crate::digest::Hasher;
use crate::progress::{Progress, Watched};

/// Bytes handed over at once: large enough that handing over costs nothing,
/// small enough for the second-level cache.
const PIECE: usize = 256 * 1024;
/// Pieces that may wait for the writer.
const PIECES_AHEAD: usize = 8;

/// Why the bytes stop.
#[derive(Debug)]
pub(super) enum StreamError {
    /// The compressed data is damaged, truncated or cannot be read.
    Decode(io::Error),
    /// More came out than is allowed.
    Limit(LimitError),
}

/// The reading end.
#[derive(Debug)]
pub(super) struct Stream {
    pieces: Receiver<Result<Vec<u8>, StreamError>>,
    used: Sender<Vec<u8>>,
    current: Vec<u8>,
    position: usize,
    /// Why there is nothing more, if that is not the end.
    pub failure: Option<StreamError>,
}

/// Starts decompressing `blob`. The handle gives the digest of what came out, or
/// `None` when it was not read to its end.
pub(super) fn decode<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    blob: impl Read + Send + 'scope,
    compression: Compression,
    limits: UnpackLimits,
    progress: &'env dyn Progress,
) -> (Stream, ScopedJoinHandle<'scope, Option<Digest>>) {
    let (pieces_in, pieces) = sync_channel(PIECES_AHEAD);
    let (used, used_out) = channel();
    let stream = Stream { pieces, used, current: Vec::new(), position: 0, failure: None };
    let decoder = scope.spawn(move || {
        let decoder = Decoder { blob, compression, limits, progress };
        decoder.run(&pieces_in, &used_out).unwrap_or_else(|error| {
            // The writer may have given up already; then nobody wants to know.
            let _ = pieces_in.send(Err(error));
            None
        })
    });
    (stream, decoder)
}

struct Decoder<'a, R> {
    blob: R,
    compression: Compression,
    limits: UnpackLimits,
    progress: &'a dyn Progress,
}

impl<R: Read> Decoder<'_, R> {
    fn run(
        self,
        pieces: &SyncSender<Result<Vec<u8>, StreamError>>,
        used: &Receiver<Vec<u8>>,
    ) -> Result<Option<Digest>, StreamError> {
        let compressed = std::cell::Cell::new(0);
        let watched = Watched { inner: self.blob, progress: self.progress };
        let counted = Counted { inner: watched, count: &compressed };
        let mut plain = self.compression.decode(counted).map_err(StreamError::Decode)?;
        let mut hasher = Hasher::default();
        let mut bytes = 0;
        loop {
            let mut piece = used.try_recv().unwrap_or_else(|_| vec![0; PIECE]);
            piece.resize(PIECE, 0);
            let len = fill(&mut *plain, &mut piece).map_err(StreamError::Decode)?;
            if len == 0 {
                return Ok(Some(hasher.finish()));
            }
            piece.truncate(len);
            bytes += len as u64;
            self.limits.check(bytes, compressed.get()).map_err(StreamError::Limit)?;
            hasher.update(&piece);
            if pieces.send(Ok(piece)).is_err() {
                return Ok(None);
            }
        }
    }
}

/// Reads until the buffer is full or there is no more.
fn fill(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < buffer.len() {
        match from.read(&mut buffer[len..]) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(len)
}

/// Counts what is read of the compressed data.
struct Counted<'a, R> {
    inner: R,
    count: &'a std::cell::Cell<u64>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count.set(self.count.get() + n as u64);
        Ok(n)
    }
}

impl Stream {
    /// Reads to the end, past whatever follows the archive: the digest is of
    /// all bytes.
    pub fn drain(&mut self) -> io::Result<()> {
        loop {
            let len = self.fill_buf()?.len();
            if len == 0 {
                return Ok(());
            }
            self.consume(len);
        }
    }
}

impl BufRead for Stream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.current.len() {
            let used = std::mem::take(&mut self.current);
            self.position = 0;
            if used.capacity() > 0 {
                // The decoder may be done and gone.
                let _ = self.used.send(used);
            }
            match self.pieces.recv() {
                Ok(Ok(piece)) => self.current = piece,
                Ok(Err(failure)) => {
                    self.failure = Some(failure);
                    return Err(io::ErrorKind::InvalidData.into());
                }
                // The decoder has hung up: the end.
                Err(_) => {}
            }
        }
        Ok(&self.current[self.position..])
    }

    fn consume(&mut self, len: usize) {
        self.position += len;
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut piece = self.fill_buf()?;
        let n = piece.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}
