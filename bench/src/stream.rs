//! One of a workload's output streams, as the harness reads it.

use std::fmt::Write;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use sha2::{Digest, Sha256};

/// The reading end of a pipe, what came through it, and the digest of all of
/// it, also of what was not kept.
pub struct Stream {
    /// `None` once it is at its end.
    reader: Option<PipeReader>,
    kept: Vec<u8>,
    most: usize,
    length: u64,
    /// Where a digest was asked for: it takes time beside the workload.
    digest: Option<Sha256>,
}

impl Stream {
    /// A pipe of which up to `most` bytes are kept, and its writing end.
    pub fn keeping(most: usize) -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = io::pipe()?;
        rustix::io::ioctl_fionbio(&reader, true)?;
        let (kept, length) = (Vec::new(), 0);
        Ok((Self { reader: Some(reader), kept, most, length, digest: None }, writer.into()))
    }

    /// With a digest of everything that comes.
    pub fn digested(self) -> Self {
        Self { digest: Some(Sha256::new()), ..self }
    }

    /// What to wait on; `None` at the end.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.reader.as_ref().map(AsFd::as_fd)
    }

    /// Reads what is there without waiting; tells whether anything was.
    pub fn read(&mut self) -> io::Result<bool> {
        let before = self.length;
        let mut buffer = [0; 4096];
        while let Some(reader) = &mut self.reader {
            match reader.read(&mut buffer) {
                Ok(0) => self.reader = None,
                Ok(count) => self.take_in(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.length > before)
    }

    fn take_in(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        if let Some(digest) = &mut self.digest {
            digest.update(bytes);
        }
        let room = self.most.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// What was kept.
    pub fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// What was kept, as text, which is then forgotten.
    pub fn take_text(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.kept)).into_owned()
    }

    /// The first line of what was kept, without its end, which is then forgotten.
    pub fn take_line(&mut self) -> Option<String> {
        let end = self.kept.iter().position(|&byte| byte == b'\n')?;
        let line: Vec<u8> = self.kept.drain(..=end).collect();
        Some(String::from_utf8_lossy(&line[..end]).into_owned())
    }

    /// Whether what comes from now on is not kept.
    pub fn is_full(&self) -> bool {
        self.kept.len() >= self.most
    }

    /// Length of all that came.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// SHA-256 of all that came, in hexadecimal; empty where none was asked for.
    pub fn sha256(&self) -> String {
        let digest = self.digest.clone().map(Sha256::finalize);
        let mut text = String::new();
        for byte in digest.iter().flatten() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write as _;

    #[test]
    fn keeps_no_more_than_told_and_digests_all() {
        let (stream, writer) = Stream::keeping(2).unwrap();
        let mut stream = stream.digested();
        assert!(!stream.read().unwrap(), "nothing there yet");
        File::from(writer).write_all(b"abc").unwrap();
        assert!(stream.read().unwrap());
        assert_eq!((stream.kept(), stream.length()), (&b"ab"[..], 3));
        assert!(stream.fd().is_none(), "at its end");
        // FIPS 180-2, appendix B.1.
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(stream.sha256(), known);
    }

    #[test]
    fn lines_are_taken_one_by_one_and_make_room() {
        let (mut stream, writer) = Stream::keeping(8).unwrap();
        File::from(writer).write_all(b"one\ntwo\nthree").unwrap();
        assert!(stream.read().unwrap() && stream.is_full());
        assert_eq!(stream.take_line().as_deref(), Some("one"));
        assert!(!stream.is_full());
        assert_eq!(stream.take_line().as_deref(), Some("two"));
        assert_eq!(stream.take_line(), None);
    }
}
