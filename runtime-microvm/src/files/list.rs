//! What is in a directory.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{FileType, OFlags, RawDir, SeekFrom, seek};
use rustix::io::Errno;

use super::MAX_TRANSFER;
use super::fuse::{Bytes, Header};
use super::reply::{Reply, number};
use super::server::{Outcome, Server, reopen, stat};

/// Bytes of entries the kernel is asked for at a time.
const CHUNK: usize = 32 << 10;
/// Most directories a guest may have open.
const MAX_LISTINGS: usize = 1 << 16;
/// Length of `struct fuse_entry_out`.
const ENTRY: usize = 128;
/// Length of `struct fuse_dirent` without its name.
const DIRENT: usize = 24;

/// An open directory.
#[derive(Debug, Default)]
pub struct Listing {
    dir: Option<File>,
    node: u64,
    device: u64,
    /// Read, and not yet told.
    pending: VecDeque<Entry>,
    /// Where the next one that is told comes from.
    position: u64,
}

#[derive(Debug)]
struct Entry {
    ino: u64,
    /// Where the one behind it is.
    next: u64,
    kind: FileType,
    name: OsString,
}

impl Listing {
    /// Has entries from `offset` on pending, unless the end is there. One that goes on
    /// where it was is not moved: places in a directory that changes are not for every
    /// filesystem to find again.
    fn fill(&mut self, offset: u64) -> Result<(), Errno> {
        let Some(dir) = &self.dir else { return Err(Errno::BADF) };
        if offset != self.position {
            self.pending.clear();
            seek(dir, SeekFrom::Start(offset))?;
            self.position = offset;
        }
        if !self.pending.is_empty() {
            return Ok(());
        }
        let mut buffer = [MaybeUninit::<u8>::uninit(); CHUNK];
        let mut entries = RawDir::new(dir, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
            let (ino, next) = (entry.ino(), entry.next_entry_cookie());
            self.pending.push_back(Entry { ino, next, kind: entry.file_type(), name });
            if entries.is_buffer_empty() {
                break;
            }
        }
        Ok(())
    }
}

impl Server {
    pub(super) fn opendir(&mut self, header: &Header) -> Outcome {
        if self.listings.len() >= MAX_LISTINGS {
            return Err(Errno::NFILE);
        }
        let inode = self.node(header.node)?;
        if inode.kind != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let dir = reopen(inode.fd.as_fd(), inode.kind, flags)?;
        let stat = stat(&dir)?;
        let device = self.devices.index((stat.stx_dev_major, stat.stx_dev_minor));
        let id = self.next_listing;
        self.next_listing += 1;
        let node = header.node;
        self.listings
            .insert(id, Listing { dir: Some(dir), node, device, ..Listing::default() });
        let mut reply = Reply::default();
        reply.open(id, 0);
        Ok(reply)
    }

    pub(super) fn releasedir(&mut self, mut body: Bytes<'_>) -> Outcome {
        self.listings.remove(&body.u64()?);
        Ok(Reply::default())
    }

    /// The next entries of a directory, with all there is to know of each if `plus`.
    pub(super) fn readdir(&mut self, mut body: Bytes<'_>, plus: bool) -> Outcome {
        let (id, offset) = (body.u64()?, body.u64()?);
        let size = usize::try_from(body.u32()?).unwrap_or(0).min(MAX_TRANSFER);
        let mut reply = Reply::default();
        let mut listing = self.listings.remove(&id).ok_or(Errno::BADF)?;
        let outcome = listing.fill(offset);
        while let Some(entry) = listing.pending.front() {
            let extra = if plus { ENTRY } else { 0 };
            let len = extra + (DIRENT + entry.name.len()).next_multiple_of(8);
            if reply.0.len() + len > size {
                break;
            }
            if plus {
                self.entry(listing.node, entry, &mut reply);
            }
            reply.u64(number(entry.ino, listing.device)).u64(entry.next);
            reply.u32(u32::try_from(entry.name.len()).unwrap_or(0)).u32(kind(entry.kind));
            reply.0.extend_from_slice(entry.name.as_bytes());
            reply.pad();
            listing.position = entry.next;
            listing.pending.pop_front();
        }
        self.listings.insert(id, listing);
        outcome.map(|()| reply)
    }

    /// What a look-up of the entry would say; nothing where there is none any more.
    fn entry(&mut self, dir: u64, entry: &Entry, reply: &mut Reply) {
        let is_itself = matches!(entry.name.as_bytes(), b"." | b"..");
        let found = (!is_itself).then(|| self.find(dir, &entry.name)).and_then(Result::ok);
        match found {
            Some(found) => reply.0.extend_from_slice(&found.0),
            None => drop(reply.zeros(ENTRY)),
        }
    }
}

/// `d_type` (dirent.h).
fn kind(kind: FileType) -> u32 {
    match kind {
        FileType::Unknown => 0,
        other => (other.as_raw_mode() >> 12) & 0xf,
    }
}
