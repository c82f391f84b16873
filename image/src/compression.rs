//! Layer compression: told apart by content, since media types lie.

use std::fs::File;
use std::io::{self, BufReader, Read};

/// How a tar archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952; any number of members, as parallel compressors write them.
    Gzip,
    /// RFC 8878; any number of frames.
    Zstd,
}

/// A compression that layers may not have: image-spec knows none, gzip and zstd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{name} compression is not supported; decompress it first: `{command}`")]
pub struct UnsupportedCompression {
    name: &'static str,
    command: &'static str,
}

/// Longest magic number looked at.
const MAGIC_LEN: usize = 6;

impl Compression {
    /// Tells the compression by the first bytes of a file.
    ///
    /// # Errors
    ///
    /// When it is a known one that is not supported.
    pub fn detect(head: &[u8]) -> Result<Self, UnsupportedCompression> {
        let unsupported = |name, command| Err(UnsupportedCompression { name, command });
        match head {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            // The second is a skippable frame, with which seekable zstd files
            // may begin.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                Ok(Self::Zstd)
            }
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => unsupported("xz", "xz -d"),
            [b'B', b'Z', b'h', ..] => unsupported("bzip2", "bzip2 -d"),
            _ => Ok(Self::None),
        }
    }

    /// Tells the compression of a file by its content and leaves the file at
    /// its start.
    pub(crate) fn detect_file(
        file: &mut File,
    ) -> io::Result<Result<Self, UnsupportedCompression>> {
        let head = head(file)?;
        io::Seek::rewind(file)?;
        Ok(Self::detect(&head))
    }

    /// Tells the compression of what a reader gives, and returns a reader that gives
    /// all of it once more.
    pub(crate) fn detect_reader<R: Read>(
        mut from: R,
    ) -> io::Result<(Result<Self, UnsupportedCompression>, impl Read + use<R>)> {
        let head = head(&mut from)?;
        Ok((Self::detect(&head), io::Cursor::new(head).chain(from)))
    }

    /// A reader of the decompressed bytes.
    pub(crate) fn decode<'a>(self, from: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        let from = BufReader::with_capacity(128 * 1024, from);
        Ok(match self {
            Self::None => Box::new(from),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(from)),
            Self::Zstd => Box::new(zstd::Decoder::with_buffer(from)?),
        })
    }
}

/// The first bytes, as many as a magic number may have.
fn head(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(MAGIC_LEN);
    from.take(MAGIC_LEN as u64).read_to_end(&mut head)?;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_is_told_by_content() {
        assert_eq!(Compression::detect(&[0x1f, 0x8b, 8]), Ok(Compression::Gzip));
        assert_eq!(Compression::detect(&[0x28, 0xb5, 0x2f, 0xfd]), Ok(Compression::Zstd));
        assert_eq!(Compression::detect(b"bin/"), Ok(Compression::None));
        assert_eq!(Compression::detect(b""), Ok(Compression::None));
        let xz = Compression::detect(&[0xfd, b'7', b'z', b'X', b'Z', 0]).unwrap_err();
        assert!(xz.to_string().contains("xz -d"));
    }

    #[test]
    fn members_and_frames_are_read_to_the_last() {
        use std::io::Write;
        let gzip = |text: &[u8]| {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        };
        let two_members = [gzip(b"one "), gzip(b"two")].concat();
        let two_frames = [
            zstd::encode_all(&b"one "[..], 1).unwrap(),
            zstd::encode_all(&b"two"[..], 1).unwrap(),
        ]
        .concat();
        for (bytes, kind) in [(two_members, Compression::Gzip), (two_frames, Compression::Zstd)]
        {
            let mut text = String::new();
            kind.decode(&bytes[..]).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "one two");
            let cut = &bytes[..bytes.len() - 2];
            let error = kind.decode(cut).unwrap().read_to_string(&mut text).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{kind:?}");
        }
    }
}
