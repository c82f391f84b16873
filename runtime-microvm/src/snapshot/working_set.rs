//! The pages a machine touches right after it went on: recorded once, and there
//! before the guest asks for them in every machine that follows.
//!
//! Nothing depends on it but time. What is missing, damaged or of another version is
//! done without.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress};

use super::error::{SnapshotError, io_error};
use super::{PAGE, files, format};
use crate::kvm::GuestRam;

/// Of an entry in `/proc/<pid>/pagemap` (Documentation/admin-guide/mm/pagemap.rst):
/// the page is there; it is one of a file.
const PRESENT: u64 = 1 << 63;
const OF_FILE: u64 = 1 << 61;
/// Length of such an entry, bytes.
const ENTRY: usize = 8;

/// What was touched of a memory file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkingSet {
    /// In the order of their addresses, none next to one like it.
    runs: Vec<Run>,
}

/// Pages next to each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Run {
    /// Of the file, bytes.
    range: Range<u64>,
    /// Copied, because they were written to.
    written: bool,
}

impl WorkingSet {
    /// What the process `pid` has touched until now of the file at `memory`, which it
    /// has mapped copy-on-write. Pages that were only read include their neighbours,
    /// which the kernel maps on the way.
    ///
    /// # Errors
    ///
    /// When the process is gone, or is none of ours.
    pub fn of(pid: i32, memory: &Path) -> io::Result<Self> {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
        let pagemap = File::open(format!("/proc/{pid}/pagemap"))?;
        let mut set = Self::default();
        for mapping in maps.lines().filter_map(|line| Mapping::parse(line, memory)) {
            let first = mapping.addresses.start / PAGE as u64;
            let pages = (mapping.addresses.end - mapping.addresses.start) / PAGE as u64;
            let mut entries = vec![0; usize::try_from(pages).map_or(0, |pages| pages * ENTRY)];
            pagemap.read_exact_at(&mut entries, first * ENTRY as u64)?;
            let (entries, _) = entries.as_chunks::<ENTRY>();
            for (at, entry) in (mapping.offset..).step_by(PAGE).zip(entries) {
                let entry = u64::from_ne_bytes(*entry);
                if entry & PRESENT != 0 {
                    set.push(at, entry & OF_FILE == 0);
                }
            }
        }
        Ok(set)
    }

    fn push(&mut self, at: u64, written: bool) {
        let end = at + PAGE as u64;
        match self.runs.last_mut() {
            Some(last) if last.range.end == at && last.written == written => {
                last.range.end = end;
            }
            _ => self.runs.push(Run { range: at..end, written }),
        }
    }

    /// That of the snapshot in `dir`, if it has one.
    #[must_use]
    pub fn load(dir: &Path) -> Option<Self> {
        let bytes = fs::read(dir.join(files::WORKING_SET)).ok()?;
        postcard::from_bytes(format::unwrap(&bytes).ok()?).ok()
    }

    /// Keeps it with the snapshot in `dir`.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`].
    pub fn store(&self, dir: &Path) -> Result<(), SnapshotError> {
        let payload = postcard::to_allocvec(self).map_err(SnapshotError::Encode)?;
        let path = dir.join(files::WORKING_SET);
        // Several machines may record at once.
        let fresh = path.with_extension(std::process::id().to_string());
        let mut options = File::options();
        options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)
            .and_then(|mut file| file.write_all(&format::wrap(&payload)))
            .and_then(|()| fs::rename(&fresh, &path))
            .map_err(io_error("write", &path))
    }

    /// Its size, bytes: what is copied, and what is only mapped.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        let of = |written| {
            let runs = self.runs.iter().filter(|run| run.written == written);
            runs.map(|run| run.range.end.saturating_sub(run.range.start))
                .fold(0, u64::saturating_add)
        };
        (of(true), of(false))
    }

    /// Has the kernel map these pages of `ram`, which is mapped from the file, and copy
    /// those that were written to.
    pub fn prefetch(&self, ram: &GuestRam) {
        for run in &self.runs {
            let advice =
                if run.written { libc::MADV_POPULATE_WRITE } else { libc::MADV_POPULATE_READ };
            populate(ram, &run.range, advice);
        }
    }
}

/// Has the kernel map a range of the file that `ram` is mapped from, as `advice` says.
/// A kernel that cannot (before 5.14) leaves it to the guest's accesses, as does a range
/// outside of the file.
pub(super) fn populate(ram: &GuestRam, range: &Range<u64>, advice: libc::c_int) {
    let mut offset = 0;
    for region in ram.iter() {
        let (start, end) = (range.start.max(offset), range.end.min(offset + region.len()));
        if start < end
            && start % PAGE as u64 == 0
            && let Ok(at) = region.get_host_address(MemoryRegionAddress(start - offset))
            && let Ok(len) = usize::try_from(end - start)
        {
            // SAFETY: the range lies in a mapping that `ram` keeps. Its pages are made
            // present, and what is in them stays.
            unsafe { libc::madvise(at.cast(), len, advice) };
        }
        offset += region.len();
    }
}

/// A line of `/proc/<pid>/maps` (proc(5)).
struct Mapping {
    addresses: Range<u64>,
    /// Where in the file it begins, bytes.
    offset: u64,
}

impl Mapping {
    /// Of the file at `path`; `None` for another.
    fn parse(line: &str, path: &Path) -> Option<Self> {
        let mut fields = line.splitn(6, ' ');
        let (addresses, _access) = (fields.next()?, fields.next()?);
        let offset = fields.next()?;
        let name = fields.nth(2)?.trim_start();
        let number = |text| u64::from_str_radix(text, 16).ok();
        let (start, end) = addresses.split_once('-')?;
        (Path::new(name) == path).then_some(Self {
            addresses: number(start)?..number(end)?,
            offset: number(offset)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{KnownFile, map};
    use proptest::prelude::*;
    use vm_memory::{Bytes, GuestAddress};

    const MIB: u64 = 1 << 20;

    /// A memory file of 4 MiB without holes.
    fn memory() -> (tempfile::TempDir, std::path::PathBuf, KnownFile) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory");
        fs::write(&path, vec![7; 4 << 20]).unwrap();
        let known = KnownFile::of(&path).unwrap();
        (dir, path, known)
    }

    fn ours(path: &Path) -> WorkingSet {
        WorkingSet::of(i32::try_from(std::process::id()).unwrap(), path).unwrap()
    }

    #[test]
    fn what_is_touched_is_there_before_it_is_touched_again() {
        let (dir, path, known) = memory();
        let first = map(&path, &known, 4).unwrap();
        assert_eq!(ours(&path), WorkingSet::default(), "nothing is mapped ahead");
        for at in [0, MIB, MIB + 4096, 3 * MIB] {
            first.write_obj(9_u8, GuestAddress(at)).unwrap();
        }
        assert_eq!(first.read_obj::<u8>(GuestAddress(2 * MIB)).unwrap(), 7);
        let set = ours(&path);
        let (written, read) = set.bytes();
        assert_eq!(written, 4 * 4096);
        assert!((4096..MIB).contains(&read), "{read} bytes around the page that was read");
        drop(first);

        assert_eq!(WorkingSet::load(dir.path()), None);
        set.store(dir.path()).unwrap();
        let loaded = WorkingSet::load(dir.path()).unwrap();
        assert_eq!(loaded, set);
        let second = map(&path, &known, 4).unwrap();
        loaded.prefetch(&second);
        assert_eq!(ours(&path).bytes().0, 4 * 4096);
        assert_eq!(second.read_obj::<u8>(GuestAddress(MIB)).unwrap(), 7, "as it was saved");
    }

    #[test]
    fn a_damaged_one_is_done_without() {
        let dir = tempfile::tempdir().unwrap();
        let set = WorkingSet { runs: vec![Run { range: 0..4096, written: true }] };
        set.store(dir.path()).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no half-made one is left");
        let path = dir.path().join(files::WORKING_SET);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        assert_eq!(WorkingSet::load(dir.path()), None);
    }

    proptest! {
        /// Whoever made the file: it is advice, and not believed.
        #[test]
        fn ranges_of_any_kind_change_nothing(
            runs in proptest::collection::vec((any::<u64>(), any::<u64>(), any::<bool>()), 0..20),
        ) {
            let runs = runs
                .into_iter()
                .map(|(start, end, written)| Run { range: start..end, written })
                .collect();
            let ram = crate::kvm::map_ram(2).unwrap();
            ram.write_obj(5_u8, GuestAddress(4096)).unwrap();
            let set = WorkingSet { runs };
            set.prefetch(&ram);
            let _ = set.bytes();
            prop_assert_eq!(ram.read_obj::<u8>(GuestAddress(4096)).unwrap(), 5);
        }
    }
}
