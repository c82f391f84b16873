//! The files the guest knows, by the numbers it was told.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::fs::{FileType, Statx};

use super::fuse::ROOT;

/// What tells files apart: the mount, so that a file is never written through another
/// one that may be read-only, the filesystem, and the number there.
pub type Key = (u64, (u32, u32), u64);

/// A file the guest knows.
#[derive(Debug)]
pub struct Inode {
    /// Opened with `O_PATH`: as long as this is open, no other file gets its number.
    pub fd: OwnedFd,
    /// What it is.
    pub kind: FileType,
    /// Opened, once there was something to read or write.
    pub open: Option<Open>,
    key: Key,
    /// How often the guest was told of it.
    known: u64,
}

/// A file that is open.
#[derive(Debug)]
pub struct Open {
    /// The file.
    pub file: File,
    /// To be written, too.
    pub writable: bool,
    /// When it was last needed.
    pub used: Instant,
}

/// The table.
#[derive(Debug)]
pub struct Inodes {
    by_id: HashMap<u64, Inode>,
    by_key: HashMap<Key, u64>,
    next: u64,
}

impl Inodes {
    /// A table with the root.
    pub fn new(root: OwnedFd, stat: &Statx) -> Self {
        let mut table = Self { by_id: HashMap::new(), by_key: HashMap::new(), next: ROOT + 1 };
        let key = key(stat);
        let root = Inode { fd: root, kind: FileType::Directory, open: None, key, known: 1 };
        table.by_key.insert(key, ROOT);
        table.by_id.insert(ROOT, root);
        table
    }

    /// The file with this id.
    pub fn get(&self, id: u64) -> Option<&Inode> {
        self.by_id.get(&id)
    }

    /// The same, to open it.
    pub fn get_mut(&mut self, id: u64) -> Option<&mut Inode> {
        self.by_id.get_mut(&id)
    }

    /// The id under which the guest is told of `fd`, once more.
    pub fn tell(&mut self, fd: OwnedFd, stat: &Statx) -> u64 {
        let key = key(stat);
        if let Some(id) = self.by_key.get(&key)
            && let Some(inode) = self.by_id.get_mut(id)
        {
            inode.known = inode.known.saturating_add(1);
            return *id;
        }
        let id = self.next;
        self.next += 1;
        let kind = FileType::from_raw_mode(stat.stx_mode.into());
        self.by_id.insert(id, Inode { fd, kind, open: None, key, known: 1 });
        self.by_key.insert(key, id);
        id
    }

    /// The guest has forgotten it `times` times.
    pub fn forget(&mut self, id: u64, times: u64) {
        let Some(inode) = self.by_id.get_mut(&id) else { return };
        inode.known = inode.known.saturating_sub(times);
        if inode.known == 0 && id != ROOT {
            let key = inode.key;
            self.by_key.remove(&key);
            self.by_id.remove(&id);
        }
    }

    /// Closes the files that were not needed since `since`, and all when there is no such
    /// time; returns whether some are still open.
    pub fn close_idle(&mut self, since: Option<Instant>) -> bool {
        let mut left = false;
        for inode in self.by_id.values_mut() {
            let idle = |open: &Open| since.is_none_or(|since| open.used < since);
            if inode.open.as_ref().is_some_and(idle) {
                inode.open = None;
            }
            left |= inode.open.is_some();
        }
        left
    }

    /// Everything but the root is new to the guest again.
    pub fn clear(&mut self) {
        self.by_id.retain(|id, _| *id == ROOT);
        self.by_key.retain(|_, id| *id == ROOT);
    }
}

fn key(stat: &Statx) -> Key {
    (stat.stx_mnt_id, (stat.stx_dev_major, stat.stx_dev_minor), stat.stx_ino)
}

/// Small numbers for the filesystems that were met.
#[derive(Debug, Default)]
pub struct Devices(Vec<(u32, u32)>);

impl Devices {
    /// The number of a filesystem.
    pub fn index(&mut self, device: (u32, u32)) -> u64 {
        let found = self.0.iter().position(|known| *known == device);
        let index = found.unwrap_or_else(|| {
            self.0.push(device);
            self.0.len() - 1
        });
        u64::try_from(index).unwrap_or_default()
    }
}
