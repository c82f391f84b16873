//! Archives with anything in them, proper or not.

use std::io::Write;

use tar::{EntryType, Header};

/// An archive being written.
#[derive(Clone, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    /// PAX records for the next entry.
    pax: Vec<(String, Vec<u8>)>,
}

/// Owner and mode of an entry.
#[derive(Clone, Copy)]
pub struct Attributes {
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub mtime: u64,
}

impl Default for Attributes {
    fn default() -> Self {
        Self { mode: 0o644, uid: 0, gid: 0, mtime: 1_000_000_000 }
    }
}

pub fn mode(mode: u32) -> Attributes {
    Attributes { mode, ..Attributes::default() }
}

impl Archive {
    pub fn new() -> Self {
        Self::default()
    }

    /// An entry of any kind; names are written as they are.
    pub fn entry(
        mut self,
        kind: EntryType,
        path: &str,
        link: &str,
        attributes: Attributes,
        content: &[u8],
    ) -> Self {
        let mut header = Header::new_gnu();
        if path.len() > 100 {
            self.pax.push(("path".to_owned(), path.into()));
        } else {
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        }
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(attributes.mode);
        header.set_uid(attributes.uid);
        header.set_gid(attributes.gid);
        header.set_mtime(attributes.mtime);
        header.set_size(content.len() as u64);
        self.flush_pax();
        self.raw(header, content);
        self
    }

    pub fn file(self, path: &str, content: &[u8]) -> Self {
        self.file_with(path, Attributes::default(), content)
    }

    pub fn file_with(self, path: &str, attributes: Attributes, content: &[u8]) -> Self {
        self.entry(EntryType::Regular, path, "", attributes, content)
    }

    pub fn dir(self, path: &str) -> Self {
        self.dir_with(path, mode(0o755))
    }

    pub fn dir_with(self, path: &str, attributes: Attributes) -> Self {
        self.entry(EntryType::Directory, path, "", attributes, &[])
    }

    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, target, mode(0o777), &[])
    }

    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Link, path, target, Attributes::default(), &[])
    }

    pub fn device(mut self, kind: EntryType, path: &str, major: u32, minor: u32) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o640);
        header.set_uid(0);
        header.set_gid(6);
        header.set_mtime(5);
        header.set_size(0);
        header.set_device_major(major).unwrap();
        header.set_device_minor(minor).unwrap();
        self.flush_pax();
        self.raw(header, &[]);
        self
    }

    /// A PAX record for the entry that follows.
    pub fn pax(mut self, key: &str, value: &[u8]) -> Self {
        self.pax.push((key.to_owned(), value.to_owned()));
        self
    }

    pub fn xattr(self, name: &str, value: &[u8]) -> Self {
        self.pax(&format!("SCHILY.xattr.{name}"), value)
    }

    /// The archive with its end mark.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.extend([0; 1024]);
        self.bytes
    }

    /// The archive without it: to be cut or continued.
    pub fn unfinished(self) -> Vec<u8> {
        self.bytes
    }

    fn flush_pax(&mut self) {
        let records: Vec<u8> = std::mem::take(&mut self.pax)
            .iter()
            .flat_map(|(key, value)| record(key, value))
            .collect();
        if !records.is_empty() {
            let mut header = Header::new_ustar();
            header.set_path("pax").unwrap();
            header.set_entry_type(EntryType::XHeader);
            header.set_size(records.len() as u64);
            self.raw(header, &records);
        }
    }

    fn raw(&mut self, mut header: Header, content: &[u8]) {
        header.set_cksum();
        self.bytes.extend(header.as_bytes());
        self.bytes.extend(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
    }
}

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = 3 + key.len() + value.len();
    let mut len = rest;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    [format!("{len} {key}=").as_bytes(), value, b"\n"].concat()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}
