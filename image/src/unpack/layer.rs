//! Applying the entries of a layer, one after the other.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, linkat, makedev, mkdirat, mknodat, openat, symlinkat,
    unlinkat,
};
use rustix::io::Errno;
use tar::EntryType;

use super::metadata::{Metadata, Privilege};
use super::path::LayerPath;
use super::root::{Occupant, Root, occupant, remove_tree};
use super::whiteout::{Marks, is_mark};
use super::{EntryError, LimitError, UnpackError, UnpackLimits, entry_error};
use crate::merged::MergedView;
use crate::tarball::{Entry, TarReader, lossy};

/// A layer being unpacked.
pub(super) struct Layer<'a> {
    pub(super) root: Root,
    pub(super) below: Option<&'a MergedView>,
    limits: UnpackLimits,
    pub(super) privilege: Privilege,
    /// Directories made so far. Their attributes are set at the end: making
    /// files in them changes their times, modes can forbid it, and default
    /// ACLs would reach the files.
    pub(super) directories: BTreeMap<Vec<u8>, Directory>,
    pub(super) marks: Marks,
    file_bytes: u64,
    entries: u64,
}

/// What is known of a directory.
#[derive(Default)]
pub(super) struct Directory {
    /// `None` as long as only entries in it have been seen, not its own.
    pub metadata: Option<Metadata>,
    /// It hides what layers below have there.
    pub opaque: bool,
}

impl<'a> Layer<'a> {
    pub fn new(
        target: &Path,
        below: Option<&'a MergedView>,
        limits: UnpackLimits,
    ) -> io::Result<Self> {
        Ok(Self {
            root: Root::open(target)?,
            below,
            limits,
            privilege: Privilege::of_this_process(),
            directories: BTreeMap::from([(Vec::new(), Directory::default())]),
            marks: Marks::default(),
            file_bytes: 0,
            entries: 0,
        })
    }

    /// Bytes of file content and entries so far.
    pub fn totals(&self) -> (u64, u64) {
        (self.file_bytes, self.entries)
    }

    pub fn unpack_all(
        &mut self,
        archive: &mut TarReader<impl BufRead>,
    ) -> Result<(), UnpackError> {
        while let Some(entry) = archive.next_entry().map_err(UnpackError::Archive)? {
            self.entries += 1;
            if self.entries > self.limits.max_entries {
                return Err(UnpackError::Limit(LimitError::Entries(self.limits.max_entries)));
            }
            self.unpack_one(&entry, archive)?;
        }
        Ok(())
    }

    fn unpack_one(
        &mut self,
        entry: &Entry,
        archive: &mut TarReader<impl BufRead>,
    ) -> Result<(), UnpackError> {
        let named = || entry_error(&entry.path);
        let path = LayerPath::parse(&entry.path).map_err(EntryError::Path).map_err(named())?;
        if is_mark(&path) {
            return self.marks.note(&path).map_err(named());
        }
        let Some((parent, name)) = path.split() else {
            return self.root_entry(entry).map_err(named());
        };
        if !entry.kind.is_file() {
            return self.special(entry, &path).map_err(named());
        }
        let metadata = Metadata::of(entry).map_err(named())?;
        let mut file = self.create(parent, OsStr::from_bytes(name)).map_err(named())?;
        archive.copy_content(|piece| file.write_all(piece)).map_err(|error| match error {
            Ok(write) => named()(EntryError::io("write")(write)),
            Err(archive) => UnpackError::Archive(archive),
        })?;
        self.file_bytes += entry.size;
        metadata.apply(&file, self.privilege).map_err(named())
    }

    /// The entry of the root itself.
    fn root_entry(&mut self, entry: &Entry) -> Result<(), EntryError> {
        if entry.kind != EntryType::Directory {
            return Err(EntryError::RootNotDirectory);
        }
        self.directories.entry(Vec::new()).or_default().metadata = Some(Metadata::of(entry)?);
        Ok(())
    }

    /// Any entry without content of its own.
    fn special(&mut self, entry: &Entry, path: &LayerPath) -> Result<(), EntryError> {
        let Some((parent, name)) = path.split() else { return Ok(()) };
        let name = OsStr::from_bytes(name);
        match entry.kind {
            EntryType::Directory => {
                let metadata = Metadata::of(entry)?;
                self.make_directory(path)?;
                self.directories.entry(path.as_bytes().to_owned()).or_default().metadata =
                    Some(metadata);
                Ok(())
            }
            EntryType::Symlink => {
                let target = OsStr::from_bytes(&entry.link);
                self.make(parent, name, "link", |dir| symlinkat(target, dir, name))?;
                self.set_metadata(entry, parent, name)
            }
            EntryType::Link => self.hard_link(entry, parent, name),
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                let (kind, device) = self.node(entry)?;
                let mode = Mode::from_raw_mode(0o600);
                self.make(parent, name, "make", |dir| mknodat(dir, name, kind, mode, device))?;
                self.set_metadata(entry, parent, name)
            }
            other => Err(EntryError::Type(other.as_byte())),
        }
    }

    /// What to give mknod(2).
    fn node(&self, entry: &Entry) -> Result<(FileType, u64), EntryError> {
        let kind = match entry.kind {
            EntryType::Char => FileType::CharacterDevice,
            EntryType::Block => FileType::BlockDevice,
            _ => return Ok((FileType::Fifo, 0)),
        };
        if entry.kind == EntryType::Char && entry.device == (0, 0) {
            return Err(EntryError::WhiteoutDevice);
        }
        if !self.privilege.is_full() {
            return Err(EntryError::DeviceUnprivileged);
        }
        Ok((kind, makedev(entry.device.0, entry.device.1)))
    }

    fn hard_link(
        &mut self,
        entry: &Entry,
        parent: &[u8],
        name: &OsStr,
    ) -> Result<(), EntryError> {
        let written = || lossy(&entry.link);
        let target = LayerPath::parse(&entry.link)
            .map_err(|reason| EntryError::LinkTarget { target: written(), reason })?;
        let missing = || EntryError::LinkTargetMissing(written());
        match self.root.occupant(&target) {
            Ok(Occupant::Other) => {}
            Ok(Occupant::Nothing | Occupant::Directory) => {
                return Err(missing());
            }
            Err(e) => return Err(through(e, &entry.link)),
        }
        let Some((target_parent, target_name)) = target.split() else { return Err(missing()) };
        // A link to itself must not remove what it links to.
        if (target_parent, OsStr::from_bytes(target_name)) == (parent, name) {
            return Ok(());
        }
        let target_dir: OwnedFd = self
            .root
            .open_again(target_parent, OFlags::PATH)
            .map_err(|e| through(e, &entry.link))?;
        let target_name = OsStr::from_bytes(target_name);
        // Without `AT_SYMLINK_FOLLOW`: a link to a symlink is one more name of it.
        self.make(parent, name, "link", |dir| {
            linkat(&target_dir, target_name, dir, name, AtFlags::empty())
        })
    }

    fn create(&mut self, parent: &[u8], name: &OsStr) -> Result<File, EntryError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        self.make(parent, name, "create", |dir| openat(dir, name, flags, mode)).map(File::from)
    }

    /// Makes something under a new name, clearing away what an earlier entry
    /// has put there.
    fn make<T>(
        &mut self,
        parent: &[u8],
        name: &OsStr,
        action: &'static str,
        make: impl Fn(BorrowedFd<'_>) -> rustix::io::Result<T>,
    ) -> Result<T, EntryError> {
        match make(self.parent(parent)?) {
            Err(Errno::EXIST) => {}
            other => return other.map_err(EntryError::io(action)),
        }
        let dir = self.parent(parent)?;
        if occupant(dir, name).map_err(EntryError::io("examine"))? == Occupant::Directory {
            remove_tree(dir, name).map_err(EntryError::io("replace"))?;
            self.root.forget();
            self.forget_directories(parent, name);
        } else {
            unlinkat(dir, name, AtFlags::empty()).map_err(EntryError::io("replace"))?;
        }
        make(self.parent(parent)?).map_err(EntryError::io(action))
    }

    fn set_metadata(
        &mut self,
        entry: &Entry,
        parent: &[u8],
        name: &OsStr,
    ) -> Result<(), EntryError> {
        let privilege = self.privilege;
        let is_symlink = entry.kind == EntryType::Symlink;
        Metadata::of(entry)?.apply_at(self.parent(parent)?, name, is_symlink, privilege)
    }

    /// Makes a directory, or keeps the one that is there.
    fn make_directory(&mut self, path: &LayerPath) -> Result<(), EntryError> {
        let Some((parent, name)) = path.split() else { return Ok(()) };
        let name = OsStr::from_bytes(name);
        let dir = self.parent(parent)?;
        let mode = Mode::from_raw_mode(0o700);
        match mkdirat(dir, name, mode) {
            Err(Errno::EXIST) => {
                let found = occupant(dir, name).map_err(EntryError::io("examine"))?;
                if found != Occupant::Directory {
                    unlinkat(dir, name, AtFlags::empty()).map_err(EntryError::io("replace"))?;
                    mkdirat(dir, name, mode).map_err(EntryError::io("make"))?;
                }
            }
            other => other.map_err(EntryError::io("make"))?,
        }
        self.directories.entry(path.as_bytes().to_owned()).or_default();
        Ok(())
    }

    /// Opens the directory an entry is in, making it and those above it if the
    /// archive has not.
    pub(super) fn parent(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>, EntryError> {
        match self.root.directory(path).map(drop) {
            Ok(()) => {}
            Err(Errno::NOENT) => self.make_parents(path)?,
            Err(e) => return Err(through(e, path)),
        }
        self.root.directory(path).map_err(|e| through(e, path))
    }

    fn make_parents(&mut self, path: &[u8]) -> Result<(), EntryError> {
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(i, _)| i);
        for end in ends.chain([path.len()]) {
            let prefix = LayerPath::parse(&path[..end]).map_err(EntryError::Path)?;
            match self.root.occupant(&prefix).map_err(|e| through(e, path))? {
                Occupant::Directory => {}
                Occupant::Nothing => self.make_directory(&prefix)?,
                Occupant::Other => return Err(self.not_a_directory(&prefix, path)),
            }
        }
        Ok(())
    }

    fn not_a_directory(&mut self, found: &LayerPath, path: &[u8]) -> EntryError {
        match self.root.directory(found.as_bytes()) {
            Err(e) => through(e, path),
            Ok(_) => EntryError::ThroughFile(lossy(path)),
        }
    }
}

/// What a failure to open a directory inside the tree means.
fn through(error: Errno, path: &[u8]) -> EntryError {
    match error {
        Errno::LOOP | Errno::XDEV => EntryError::ThroughSymlink(lossy(path)),
        Errno::NOTDIR => EntryError::ThroughFile(lossy(path)),
        _ => EntryError::io("open the directory for")(error),
    }
}
