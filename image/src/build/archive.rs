//! Writing a layer: the same content makes the same bytes, wherever it comes from.
//!
//! Entries are in the order of their names, times are whole seconds, and nothing is
//! said that the machine or the moment decides.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use tar::{EntryType, Header};

use super::files::{Kind, Meta, Tree};

/// Prefix of the name that takes a file of the layers below away (image-spec,
/// "Whiteouts").
pub(super) const WHITEOUT: &[u8] = b".wh.";
/// Takes everything away that is below in the directory it is in.
pub(super) const OPAQUE: &[u8] = b".wh..wh..opq";

/// One thing in a layer.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub meta: Meta,
    pub content: Content,
}

/// Where the content of a file is.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// There is none.
    None,
    /// Here.
    Bytes(Rc<[u8]>),
    /// In a tree.
    Tree(Rc<dyn Tree>, Vec<u8>),
    /// In an archive, from a position on.
    Range(Rc<File>, u64),
    /// It is one more name of what the layer has under this one.
    Link(Vec<u8>),
}

/// The entries of a layer, by their clean paths.
pub(super) type Entries = BTreeMap<Vec<u8>, Entry>;

impl Entry {
    pub fn empty(meta: Meta) -> Self {
        Self { meta, content: Content::None }
    }

    /// What a layer has in the place of something that is deleted.
    pub fn mark() -> Self {
        Self::empty(Meta::file(0, 0, 0))
    }
}

impl Content {
    fn open(&self) -> io::Result<Box<dyn Read + '_>> {
        Ok(match self {
            Self::None | Self::Link(_) => Box::new(io::empty()),
            Self::Bytes(bytes) => Box::new(&bytes[..]),
            Self::Tree(tree, path) => Box::new(tree.open(path)?),
            Self::Range(file, at) => Box::new(Positioned { file, at: *at }),
        })
    }

    /// Hands the content to `sink`, piece by piece.
    pub fn copy_to(&self, size: u64, sink: &mut dyn Write) -> io::Result<()> {
        let copied = io::copy(&mut self.open()?.take(size), sink)?;
        if copied == size { Ok(()) } else { Err(changed()) }
    }
}

fn changed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the file changed while it was read")
}

/// Reads a file from a position of its own.
struct Positioned<'a> {
    file: &'a File,
    at: u64,
}

impl Read for Positioned<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// Writes the archive of a layer. No time in it is later than `latest`.
pub(super) fn write(
    entries: &Entries,
    latest: Option<i64>,
    to: &mut dyn Write,
) -> Result<(), (Vec<u8>, io::Error)> {
    let mut archive = tar::Builder::new(to);
    for (path, entry) in entries {
        append(&mut archive, path, entry, latest).map_err(|e| (path.clone(), e))?;
    }
    archive.into_inner().and_then(Write::flush).map_err(|e| (Vec::new(), e))
}

fn append(
    archive: &mut tar::Builder<&mut dyn Write>,
    path: &[u8],
    entry: &Entry,
    latest: Option<i64>,
) -> io::Result<()> {
    let meta = &entry.meta;
    let mut header = Header::new_ustar();
    let mut records = Vec::new();
    let mut name = path.to_vec();
    let mut size = 0;
    let mut link: &[u8] = &[];
    let mut device = None;
    let kind = match (&entry.content, &meta.kind) {
        (Content::Link(target), _) => {
            link = target;
            EntryType::Link
        }
        (_, Kind::Directory) => {
            name.push(b'/');
            EntryType::Directory
        }
        (_, Kind::File) => {
            size = meta.size;
            EntryType::Regular
        }
        (_, Kind::Symlink(target)) => {
            link = target;
            EntryType::Symlink
        }
        (_, Kind::Character(major, minor)) => {
            device = Some((*major, *minor));
            EntryType::Char
        }
        (_, Kind::Block(major, minor)) => {
            device = Some((*major, *minor));
            EntryType::Block
        }
        (_, Kind::Fifo) => EntryType::Fifo,
        // A socket is nothing without its process, and an archive has none.
        (_, Kind::Socket) => return Ok(()),
    };
    header.set_entry_type(kind);
    if let Some((major, minor)) = device {
        header.set_device_major(major)?;
        header.set_device_minor(minor)?;
    }
    let fields = header.as_ustar_mut().ok_or(io::ErrorKind::InvalidInput)?;
    text(&mut fields.name, &name, "path", &mut records);
    text(&mut fields.linkname, link, "linkpath", &mut records);
    header.set_mode(meta.mode);
    number(meta.uid.into(), "uid", &mut records, |id| header.set_uid(id));
    number(meta.gid.into(), "gid", &mut records, |id| header.set_gid(id));
    number(size, "size", &mut records, |size| header.set_size(size));
    let mtime = latest.map_or(meta.mtime, |latest| meta.mtime.min(latest));
    match u64::try_from(mtime) {
        Ok(mtime) => number(mtime, "mtime", &mut records, |mtime| header.set_mtime(mtime)),
        Err(_) => record("mtime".as_bytes(), mtime.to_string().as_bytes(), &mut records),
    }
    for (name, value) in &meta.xattrs {
        record(&[b"SCHILY.xattr.", &name[..]].concat(), value, &mut records);
    }
    if !records.is_empty() {
        extension(archive, &records)?;
    }
    header.set_cksum();
    let content = entry.content.open()?;
    archive.append(&header, Exactly { inner: content, left: size })
}

/// Fails when there is less than there should be; the header is written already.
struct Exactly<'a> {
    inner: Box<dyn Read + 'a>,
    left: u64,
}

impl Read for Exactly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let count = self.inner.read(&mut buffer[..most])?;
        self.left -= count as u64;
        if count == 0 { Err(changed()) } else { Ok(count) }
    }
}

/// A field of text; one that does not fit goes into an extended header.
fn text(field: &mut [u8], value: &[u8], key: &str, records: &mut Vec<u8>) {
    if value.len() > field.len() || !value.is_ascii() {
        record(key.as_bytes(), value, records);
    }
    let len = value.len().min(field.len());
    field[..len].copy_from_slice(&value[..len]);
}

/// A number; one that has more than eleven octal digits goes into an extended header.
fn number(value: u64, key: &str, records: &mut Vec<u8>, mut set: impl FnMut(u64)) {
    // Seven digits for ids, eleven for the others (POSIX.1-2017, pax, "ustar").
    let most = if matches!(key, "uid" | "gid") { 0o777_7777 } else { 0o777_7777_7777 };
    if value > most {
        record(key.as_bytes(), value.to_string().as_bytes(), records);
        set(0);
    } else {
        set(value);
    }
}

/// Appends `length key=value\n`, where the length counts its own digits as well.
fn record(key: &[u8], value: &[u8], records: &mut Vec<u8>) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + rest.to_string().len();
    if len.to_string().len() > rest.to_string().len() {
        len = rest + len.to_string().len();
    }
    records.extend_from_slice(format!("{len} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn extension(archive: &mut tar::Builder<&mut dyn Write>, records: &[u8]) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::XHeader);
    header.set_path("PaxHeaders")?;
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(records.len() as u64);
    header.set_cksum();
    archive.append(&header, records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tarball::TarReader;

    #[test]
    fn what_is_written_is_read_back() {
        let long = [&b"d/"[..], &[b'x'; 150]].concat();
        let mut entries = Entries::new();
        entries.insert(b"d".to_vec(), Entry::empty(Meta::directory(7)));
        let mut meta = Meta::file(3, 0o4755, 2_000_000_000);
        meta.uid = 3_000_000;
        meta.xattrs = vec![(b"user.a".to_vec(), b"1\n2=".to_vec())];
        let content = Content::Bytes(b"abc"[..].into());
        entries.insert(long.clone(), Entry { meta: meta.clone(), content });
        entries.insert(
            b"e".to_vec(),
            Entry { meta: meta.clone(), content: Content::Link(long.clone()) },
        );
        meta.kind = Kind::Symlink("ü".into());
        entries.insert(b"f".to_vec(), Entry::empty(meta));
        let mut bytes = Vec::new();
        write(&entries, Some(1_000_000_000), &mut bytes).unwrap();

        let mut again = Vec::new();
        write(&entries, Some(1_000_000_000), &mut again).unwrap();
        assert_eq!(bytes, again);

        let mut reader = TarReader::new(&bytes[..]);
        let dir = reader.next_entry().unwrap().unwrap();
        assert_eq!(
            (&dir.path[..], dir.kind, dir.mtime),
            (&b"d/"[..], EntryType::Directory, (7, 0))
        );
        let file = reader.next_entry().unwrap().unwrap();
        assert_eq!((&file.path, file.mode, file.uid), (&long, 0o4755, 3_000_000));
        assert_eq!((file.size, file.mtime), (3, (1_000_000_000, 0)));
        assert_eq!(file.xattrs, [(b"user.a".to_vec(), b"1\n2=".to_vec())]);
        let link = reader.next_entry().unwrap().unwrap();
        assert_eq!((link.kind, &link.link), (EntryType::Link, &long));
        let symlink = reader.next_entry().unwrap().unwrap();
        assert_eq!((symlink.kind, &symlink.link[..]), (EntryType::Symlink, "ü".as_bytes()));
        assert!(reader.next_entry().unwrap().is_none());
    }

    #[test]
    fn a_file_that_shrinks_is_an_error() {
        let meta = Meta::file(4, 0o644, 0);
        let content = Content::Bytes(b"abc"[..].into());
        let entries = Entries::from([(b"a".to_vec(), Entry { meta, content })]);
        assert!(write(&entries, None, &mut Vec::new()).is_err());
    }

    #[test]
    fn records_count_their_own_length() {
        for len in [1, 3, 90, 91, 92, 93, 94, 985, 990, 995] {
            let mut records = Vec::new();
            record(b"k", &vec![b'v'; len], &mut records);
            let text = String::from_utf8(records).unwrap();
            let said: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(said, text.len(), "{len}");
        }
    }
}
