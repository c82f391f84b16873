//! Reading tar archives as they come: one pass, bounded memory.
//!
//! The header block is parsed by the `tar` crate. The rest is done here because
//! its PAX parser takes records apart at newlines, which the values of binary
//! extended attributes (`security.capability`) may contain: such files would be
//! lost, and a value could pass itself off as another record, such as `path`.
//! Extension headers are also bounded here: they have to be held in memory.

mod pax;

use std::io::{self, BufRead, Read};

use tar::{EntryType, Header};

use pax::Extensions;

/// Size of a tar block (POSIX.1-2017, pax, "ustar Interchange Format").
const BLOCK: usize = 512;
/// Longest extension header taken. Linux limits what it can hold: a path to
/// 4 KiB, all extended attributes of a file to less than this.
const MAX_EXTENSION: u64 = 1024 * 1024;

/// An archive that cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The bytes end in the middle of an entry.
    #[error("the archive is truncated")]
    Truncated,
    /// The bytes cannot be had.
    #[error("the archive cannot be read")]
    Read(#[source] io::Error),
    /// Not a tar header.
    #[error("the archive is damaged: a header has the wrong checksum")]
    Checksum,
    /// A number in a header is none.
    #[error("the archive is damaged: the {field} of `{path}` is not a number")]
    Number {
        /// Which field.
        field: &'static str,
        /// Of which entry.
        path: String,
    },
    /// A PAX record that does not have the form `length key=value`.
    #[error("the archive is damaged: an extended header cannot be parsed")]
    Pax,
    /// An extension header longer than any valid one.
    #[error("the archive is damaged: an extended header has {0} bytes")]
    ExtensionTooLong(u64),
    /// An extension header with nothing to extend.
    #[error("the archive ends after an extended header")]
    NothingExtended,
    /// GNU's formats for files with holes.
    #[error("`{0}` is stored as a sparse file; make the archive without --sparse")]
    Sparse(String),
}

/// One entry of an archive: its metadata. Its content is read from the reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: EntryType,
    /// Its name, as written.
    pub path: Vec<u8>,
    /// What it links to, as written.
    pub link: Vec<u8>,
    /// Bytes of content.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Time of modification: seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Device number: major and minor.
    pub device: (u32, u32),
    /// Extended attributes, in the order written.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// An archive being read.
#[derive(Debug)]
pub struct TarReader<R> {
    inner: R,
    /// Content of the current entry not read yet.
    content: u64,
    /// Padding after it, up to the next block.
    padding: u64,
}

/// What precedes an entry and describes it.
#[derive(Default)]
struct Prelude {
    pax: Option<Extensions>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: BufRead> TarReader<R> {
    /// Reads the archive that `inner` holds, uncompressed.
    pub fn new(inner: R) -> Self {
        Self { inner, content: 0, padding: 0 }
    }

    /// The next entry, after skipping what is left of the current one; `None`
    /// at the end-of-archive mark or the end of the bytes.
    ///
    /// # Errors
    ///
    /// [`TarError`], after which there is no going on.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        let mut prelude = Prelude::default();
        let mut described = false;
        loop {
            self.skip(self.content)?;
            // A last entry without its padding has lost nothing: umoci writes such
            // archives, and Go's reader takes them.
            let ended = match self.skip(self.padding) {
                Err(TarError::Truncated) => true,
                other => other.map(|()| false)?,
            };
            self.set_content(0);
            let header = if ended { None } else { self.header()? };
            let Some(header) = header else {
                return if described { Err(TarError::NothingExtended) } else { Ok(None) };
            };
            match header.entry_type() {
                EntryType::XHeader => {
                    prelude.pax = Some(Extensions::parse(&self.extension(&header)?)?);
                }
                EntryType::GNULongName => {
                    prelude.long_name = Some(c_string(self.extension(&header)?));
                }
                EntryType::GNULongLink => {
                    prelude.long_link = Some(c_string(self.extension(&header)?));
                }
                // Defaults for the whole archive: comments, in practice. Like
                // Go's reader, and so docker, they are not applied.
                EntryType::XGlobalHeader => {
                    self.extension(&header)?;
                    continue;
                }
                _ => return self.entry(&header, prelude).map(Some),
            }
            described = true;
        }
    }

    /// Hands the content of the current entry to `sink`, in the pieces the
    /// reader below has at hand, so that nothing is copied on the way.
    ///
    /// # Errors
    ///
    /// `Err(Ok(_))` holds the sink's error, `Err(Err(_))` the archive's.
    pub fn copy_content<E>(
        &mut self,
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), Result<E, TarError>> {
        while self.content > 0 {
            let piece = match self.inner.fill_buf() {
                Ok([]) => return Err(Err(TarError::Truncated)),
                Ok(piece) => piece,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Err(read_error(e))),
            };
            let len = piece.len().min(usize::try_from(self.content).unwrap_or(usize::MAX));
            sink(&piece[..len]).map_err(Ok)?;
            self.inner.consume(len);
            self.content -= len as u64;
        }
        Ok(())
    }

    /// Reads some of the content of the current entry; less than there should be
    /// is an error of kind `UnexpectedEof`.
    fn read_content(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(usize::try_from(self.content).unwrap_or(usize::MAX));
        if len == 0 {
            return Ok(0);
        }
        let n = self.inner.read(&mut buffer[..len])?;
        self.content -= n as u64;
        if n == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(n) }
    }

    /// The reader below, at whatever comes after what has been read.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// The same, to look at.
    pub fn inner(&self) -> &R {
        &self.inner
    }

    fn set_content(&mut self, size: u64) {
        self.content = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
    }

    /// Reads a header block; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<Header>, TarError> {
        if self.inner.fill_buf().map_err(read_error)?.is_empty() {
            return Ok(None);
        }
        let mut block = [0; BLOCK];
        self.inner.read_exact(&mut block).map_err(read_error)?;
        if block == [0; BLOCK] {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        // The checksum is taken with its own field as spaces.
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum::<u32>()
            - block[148..156].iter().map(|b| u32::from(*b)).sum::<u32>()
            + 8 * u32::from(b' ');
        if header.cksum().ok() != Some(sum) {
            return Err(TarError::Checksum);
        }
        Ok(Some(header))
    }

    /// Reads the content of an extension header.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, TarError> {
        let raw = &header.as_old().size;
        let size = number("size", &header.path_bytes(), raw, header.entry_size())?;
        if size > MAX_EXTENSION {
            return Err(TarError::ExtensionTooLong(size));
        }
        self.set_content(size);
        let mut bytes = Vec::new();
        let copied = self.copy_content(|piece| {
            bytes.extend_from_slice(piece);
            Ok::<_, std::convert::Infallible>(())
        });
        match copied {
            Ok(()) => Ok(bytes),
            Err(Err(e)) => Err(e),
        }
    }

    fn entry(&mut self, header: &Header, prelude: Prelude) -> Result<Entry, TarError> {
        let pax = prelude.pax.unwrap_or_default();
        let path =
            prelude.long_name.or(pax.path).unwrap_or_else(|| header.path_bytes().into_owned());
        let link = prelude
            .long_link
            .or(pax.link)
            .unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned());
        if header.entry_type() == EntryType::GNUSparse || pax.sparse {
            return Err(TarError::Sparse(lossy(&path)));
        }
        let mut kind = header.entry_type();
        // Version 7 archives have no type for directories.
        if matches!(kind, EntryType::Regular) && path.ends_with(b"/") {
            kind = EntryType::Directory;
        }
        let raw = header.as_old();
        let or_header = |found: Option<u64>, field, raw: &[u8], value| {
            found.map_or_else(|| number(field, &path, raw, value), Ok)
        };
        let size = or_header(pax.size, "size", &raw.size, header.entry_size())?;
        let mtime = match pax.mtime {
            Some(mtime) => mtime,
            None => (number("mtime", &path, &raw.mtime, header.mtime())?.cast_signed(), 0),
        };
        let entry = Entry {
            kind,
            size,
            mode: number("mode", &path, &raw.mode, header.mode())? & 0o7777,
            uid: or_header(pax.uid, "uid", &raw.uid, header.uid())?,
            gid: or_header(pax.gid, "gid", &raw.gid, header.gid())?,
            // Times before 1970 are two's complement in GNU's binary form.
            mtime,
            device: device(header, kind, &path)?,
            xattrs: pax.xattrs,
            path,
            link,
        };
        // Only these have content; links say the size of what they link to.
        match kind {
            EntryType::Link
            | EntryType::Symlink
            | EntryType::Directory
            | EntryType::Fifo
            | EntryType::Char
            | EntryType::Block => self.set_content(0),
            _ => self.set_content(size),
        }
        Ok(entry)
    }

    fn skip(&mut self, mut bytes: u64) -> Result<(), TarError> {
        while bytes > 0 {
            let piece = self.inner.fill_buf().map_err(read_error)?.len();
            if piece == 0 {
                return Err(TarError::Truncated);
            }
            let len = piece.min(usize::try_from(bytes).unwrap_or(usize::MAX));
            self.inner.consume(len);
            bytes -= len as u64;
        }
        Ok(())
    }
}

impl<R: BufRead> Read for TarReader<R> {
    /// Reads the content of the current entry.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_content(buffer)
    }
}

fn read_error(error: io::Error) -> TarError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => TarError::Truncated,
        _ => TarError::Read(error),
    }
}

/// A numeric field. An empty one is zero, as it is to Go's reader and GNU tar;
/// some writers leave out what they do not know.
fn number<T: Default>(
    field: &'static str,
    path: &[u8],
    raw: &[u8],
    value: io::Result<T>,
) -> Result<T, TarError> {
    if raw.iter().all(|b| matches!(b, 0 | b' ')) {
        return Ok(T::default());
    }
    value.map_err(|_| TarError::Number { field, path: lossy(path) })
}

/// The numbers of a device node, in the formats that have them.
fn device(header: &Header, kind: EntryType, path: &[u8]) -> Result<(u32, u32), TarError> {
    if !matches!(kind, EntryType::Char | EntryType::Block) {
        return Ok((0, 0));
    }
    let (major, minor) = match (header.as_gnu(), header.as_ustar()) {
        (Some(gnu), _) => (gnu.dev_major, gnu.dev_minor),
        (None, Some(ustar)) => (ustar.dev_major, ustar.dev_minor),
        (None, None) => return Ok((0, 0)),
    };
    let part = |raw: [u8; 8], value: io::Result<Option<u32>>| {
        number("device number", path, &raw, value).map(Option::unwrap_or_default)
    };
    Ok((part(major, header.device_major())?, part(minor, header.device_minor())?))
}

fn c_string(mut bytes: Vec<u8>) -> Vec<u8> {
    let len = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    bytes.truncate(len);
    bytes
}

/// A name for a message.
pub(crate) fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
