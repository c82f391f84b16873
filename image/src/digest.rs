//! SHA-256 digests: the only names content has in the store.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::file::FileError;
use crate::progress::Progress;

/// A SHA-256 digest, written `sha256:<64 hex digits>` (image-spec, "Digests").
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; Self::BYTES]);

/// Text that is not a digest this store can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseDigestError {
    /// The algorithm is not SHA-256.
    #[error("digest `{0}` does not use sha256, the only algorithm supported")]
    Algorithm(String),
    /// The digits are not 64 lower-case hexadecimal ones.
    #[error("digest `{0}` is not 64 lower-case hexadecimal digits")]
    Digits(String),
}

impl Digest {
    const BYTES: usize = 32;
    const PREFIX: &'static str = "sha256:";

    /// The digest of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Where what has this digest is in an image layout.
    pub(crate) fn path_in_layout(self) -> String {
        format!("blobs/sha256/{}", self.hex())
    }

    /// The 64 hexadecimal digits, without the algorithm.
    #[must_use]
    pub fn hex(&self) -> String {
        let mut text = String::with_capacity(Self::BYTES * 2);
        for byte in self.0 {
            for nibble in [byte >> 4, byte & 0xf] {
                text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
        }
        text
    }

    /// A digest from its 64 hexadecimal digits.
    ///
    /// # Errors
    ///
    /// [`ParseDigestError::Digits`] when they are not that.
    pub fn from_hex(digits: &str) -> Result<Self, ParseDigestError> {
        let wrong = || ParseDigestError::Digits(digits.to_owned());
        if digits.len() != Self::BYTES * 2 || digits.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(wrong());
        }
        let mut bytes = [0; Self::BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            // `from_str_radix` would take a sign.
            if !pair.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(wrong());
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }

    /// The ChainID of a layer on top of a stack of layers (image-spec, "Layer
    /// ChainID"): what names the stack's content by the content of its parts.
    #[must_use]
    pub fn chain(below: Option<Self>, diff_id: Self) -> Self {
        match below {
            None => diff_id,
            Some(below) => Self::of(format!("{below} {diff_id}").as_bytes()),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::PREFIX, self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text
            .strip_prefix(Self::PREFIX)
            .ok_or_else(|| ParseDigestError::Algorithm(text.to_owned()))?;
        Self::from_hex(digits)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A digest being computed, piece by piece.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes added.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// Copies content into a new file in `dir` that is called as its digest; returns that
/// and the size.
pub(crate) fn stage(
    dir: &Path,
    content: &mut dyn Read,
    progress: &dyn Progress,
) -> Result<(Digest, u64), FileError> {
    let mut temp =
        tempfile::NamedTempFile::new_in(dir).map_err(FileError::on("create a file in", dir))?;
    let copied = copy_hashed(content, temp.as_file_mut(), &mut |n| progress.advance(n));
    let (digest, size) = copied.map_err(FileError::on("write", temp.path()))?;
    let path = dir.join(digest.hex());
    temp.persist(&path).map_err(|e| FileError::on("create", &path)(e.error))?;
    Ok((digest, size))
}

/// The same for content that `write` writes.
pub(crate) fn stage_written<E: From<FileError>>(
    dir: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(Digest, u64), E> {
    let temp =
        tempfile::NamedTempFile::new_in(dir).map_err(FileError::on("create a file in", dir))?;
    let mut hashed = Hashed::new(temp);
    write(&mut hashed)?;
    let Hashed { inner, hasher, size } = hashed;
    let digest = hasher.finish();
    let path = dir.join(digest.hex());
    inner.persist(&path).map_err(|e| FileError::on("create", &path)(e.error))?;
    Ok((digest, size))
}

/// Knows the digest of what is written through it.
#[derive(Debug)]
pub(crate) struct Hashed<W> {
    inner: W,
    hasher: Hasher,
    size: u64,
}

impl<W: Write> Hashed<W> {
    /// Hands on to `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner, hasher: Hasher::default(), size: 0 }
    }

    /// The digest, and what it was handed on to.
    pub fn finish(self) -> (Digest, W) {
        (self.hasher.finish(), self.inner)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Copies all of `from` to `to`, handing each piece's length to `on_piece`;
/// returns the digest and the number of bytes.
fn copy_hashed(
    from: &mut dyn Read,
    to: &mut dyn Write,
    on_piece: &mut dyn FnMut(u64),
) -> io::Result<(Digest, u64)> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    loop {
        let n = match from.read(&mut buffer) {
            Ok(0) => return Ok((hasher.finish(), total)),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        hasher.update(&buffer[..n]);
        to.write_all(&buffer[..n])?;
        total += n as u64;
        on_piece(n as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-2, appendix B.1.
    const ABC: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn digests_are_written_and_read_back() {
        assert_eq!(Digest::of(b"abc").to_string(), ABC);
        assert_eq!(ABC.parse::<Digest>().unwrap(), Digest::of(b"abc"));
    }

    #[test]
    fn other_algorithms_and_bad_digits_are_refused() {
        let other = ABC.replace("sha256", "sha512").parse::<Digest>().unwrap_err();
        assert!(matches!(other, ParseDigestError::Algorithm(_)));
        for bad in [ABC.to_uppercase().replace("SHA256", "sha256"), ABC[..70].to_owned()] {
            assert!(matches!(bad.parse::<Digest>(), Err(ParseDigestError::Digits(_))));
        }
        let signed = format!("sha256:{}", "+1".repeat(32));
        assert!(signed.parse::<Digest>().is_err());
    }

    #[test]
    fn a_chain_of_one_is_its_layer() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        assert_eq!(Digest::chain(None, a), a);
        assert_eq!(Digest::chain(Some(a), b), Digest::of(format!("{a} {b}").as_bytes()));
    }
}
