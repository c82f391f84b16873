//! Entries of a tar archive (POSIX.1-2017, pax): each with an extended header, so that
//! nothing has to be fitted into the fields of the old one.

use alloc::vec::Vec;

/// Size of a block.
const BLOCK: usize = 512;

/// What a file is, by the letter that the format has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    File = b'0',
    Link = b'1',
    Symlink = b'2',
    Character = b'3',
    Block = b'4',
    Directory = b'5',
    Fifo = b'6',
}

/// The letter of an extended header.
const EXTENDED: u8 = b'x';

/// What an entry says of a file.
#[derive(Debug)]
pub struct Entry<'a> {
    pub kind: Kind,
    pub path: &'a [u8],
    /// What it links to, if it does.
    pub link: &'a [u8],
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub mtime: i64,
    /// Major and minor number.
    pub device: (u32, u32),
    /// Names and values.
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

impl Entry<'_> {
    /// Appends the headers; what follows is the content, up to a whole block.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mut records = Vec::new();
        record(b"path", self.path, &mut records);
        if !self.link.is_empty() {
            record(b"linkpath", self.link, &mut records);
        }
        let numbers: [(&[u8], u64); 3] =
            [(b"size", self.size), (b"uid", self.uid.into()), (b"gid", self.gid.into())];
        for (key, value) in numbers {
            record(key, Decimal::of(value).text(), &mut records);
        }
        let mut mtime = Vec::new();
        if self.mtime < 0 {
            mtime.push(b'-');
        }
        mtime.extend_from_slice(Decimal::of(self.mtime.unsigned_abs()).text());
        record(b"mtime", &mtime, &mut records);
        for (name, value) in self.xattrs {
            record(&[b"SCHILY.xattr.", name.as_slice()].concat(), value, &mut records);
        }
        header(EXTENDED, b"PaxHeaders", 0o644, records.len() as u64, (0, 0), out);
        out.extend_from_slice(&records);
        pad(records.len() as u64, out);
        let name = &self.path[..self.path.len().min(NAME_LEN)];
        // Links have no content, whatever they say.
        header(self.kind as u8, name, self.mode, self.size, self.device, out);
    }
}

/// Fills the last block of `len` bytes.
pub fn pad(len: u64, out: &mut Vec<u8>) {
    let rest = usize::try_from(len % BLOCK as u64).unwrap_or(0);
    out.resize(out.len() + (BLOCK - rest) % BLOCK, 0);
}

/// Appends what ends an archive.
pub fn end(out: &mut Vec<u8>) {
    out.resize(out.len() + 2 * BLOCK, 0);
}

const NAME_LEN: usize = 100;

/// A ustar header.
fn header(kind: u8, name: &[u8], mode: u32, size: u64, device: (u32, u32), out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + BLOCK, 0);
    let block = &mut out[start..];
    block[..name.len()].copy_from_slice(name);
    octal(&mut block[100..107], mode.into());
    octal(&mut block[108..115], 0);
    octal(&mut block[116..123], 0);
    // One that does not fit is in the extended header.
    octal(&mut block[124..135], if size >> 33 == 0 { size } else { 0 });
    octal(&mut block[136..147], 0);
    block[156] = kind;
    block[257..265].copy_from_slice(b"ustar\x0000");
    octal(&mut block[329..336], device.0.into());
    octal(&mut block[337..344], device.1.into());
    // Taken with its own field as spaces.
    block[148..156].fill(b' ');
    let sum = block.iter().map(|b| u64::from(*b)).sum();
    octal(&mut block[148..154], sum);
    block[154] = 0;
}

fn octal(field: &mut [u8], mut value: u64) {
    for digit in field.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value & 7).unwrap_or(0);
        value >>= 3;
    }
}

/// A number in decimal.
struct Decimal {
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    fn of(mut value: u64) -> Self {
        let mut it = Self { digits: [b'0'; 20], start: 20 };
        loop {
            it.start -= 1;
            it.digits[it.start] = b'0' + u8::try_from(value % 10).unwrap_or(0);
            value /= 10;
            if value == 0 {
                return it;
            }
        }
    }

    fn text(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}

/// Appends `length key=value\n`, where the length counts its own digits as well.
fn record(key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let rest = (key.len() + value.len() + 3) as u64;
    let mut len = rest;
    // It grows by one digit at most once.
    for _ in 0..2 {
        len = rest + Decimal::of(len).text().len() as u64;
    }
    out.extend_from_slice(Decimal::of(len).text());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::prelude::v1::*;

    #[test]
    fn an_independent_reader_reads_what_is_written() {
        let mut bytes = Vec::new();
        let path = [b"d/".as_slice(), &[b'x'; 200]].concat();
        // Without a line break: the reader takes that for the end of a record.
        let xattrs = [(b"user.a".to_vec(), b"1=2".to_vec())];
        let file = Entry {
            kind: Kind::File,
            path: &path,
            link: b"",
            mode: 0o4711,
            uid: 3_000_000,
            gid: 7,
            size: 3,
            mtime: -5,
            device: (0, 0),
            xattrs: &xattrs,
        };
        file.put(&mut bytes);
        bytes.extend_from_slice(b"abc");
        pad(3, &mut bytes);
        let node = Entry {
            kind: Kind::Character,
            path: b"n",
            size: 0,
            device: (1, 3),
            xattrs: &[],
            ..file
        };
        node.put(&mut bytes);
        end(&mut bytes);

        let mut archive = tar::Archive::new(&bytes[..]);
        let mut entries = archive.entries().unwrap();
        let mut file = entries.next().unwrap().unwrap();
        assert_eq!(&*file.path_bytes(), &path[..]);
        assert_eq!((file.header().mode().unwrap(), file.size()), (0o4711, 3));
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
        let records: Vec<_> = file
            .pax_extensions()
            .unwrap()
            .unwrap()
            .map(|record| record.unwrap())
            .map(|record| (record.key().unwrap().to_owned(), record.value_bytes().to_vec()))
            .collect();
        assert!(records.contains(&("uid".to_owned(), b"3000000".to_vec())));
        assert!(records.contains(&("mtime".to_owned(), b"-5".to_vec())));
        let node = entries.next().unwrap().unwrap();
        assert_eq!(node.header().device_minor().unwrap(), Some(3));
        assert!(entries.next().is_none());
    }

    #[test]
    fn records_count_their_own_length() {
        for len in [0, 1, 90, 91, 92, 93, 94, 985, 990, 995, 9985] {
            let mut out = Vec::new();
            record(b"k", &alloc::vec![b'v'; len], &mut out);
            let text = String::from_utf8(out).unwrap();
            let said: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(said, text.len(), "{len}");
        }
    }
}
