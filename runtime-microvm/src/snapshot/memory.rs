//! Guest memory as a sparse file, and a sparse file as guest memory.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use vm_memory::mmap::MmapRegionError;
use vm_memory::{
    FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryRegion, GuestRegionMmap,
    MemoryRegionAddress, MmapRegion,
};

use super::error::{SnapshotError, io_error};
use super::file::next_data;
use super::working_set::populate;
use super::{KnownFile, PAGE};
use crate::boot::layout;
use crate::kvm::GuestRam;

/// Writes the pages of `ram` that are not zero to `file`, which is empty and gets as
/// long as the memory; returns how many there were.
///
/// The guest must not run meanwhile.
///
/// # Errors
///
/// When the file cannot be written.
pub fn write(ram: &GuestRam, mut file: &File) -> io::Result<u64> {
    let (mut offset, mut pages) = (0_u64, 0);
    for region in ram.iter() {
        let start =
            region.get_host_address(MemoryRegionAddress(0)).map_err(io::Error::other)?;
        let len = usize::try_from(region.len()).map_err(io::Error::other)?;
        // SAFETY: the region is mapped as long as `ram` lives. Its processor is paused
        // and its devices are served by this thread, so nothing writes to it now.
        let bytes = unsafe { std::slice::from_raw_parts(start.cast_const(), len) };
        for run in (Runs { bytes, at: 0 }) {
            file.seek(SeekFrom::Start(offset + run.start as u64))?;
            file.write_all(&bytes[run.clone()])?;
            pages += (run.len() / PAGE) as u64;
        }
        offset += region.len();
    }
    Ok(pages)
}

/// The runs of pages that are not zero.
struct Runs<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Iterator for Runs<'_> {
    type Item = std::ops::Range<usize>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut pages = self.bytes[self.at..].chunks(PAGE);
        self.at += pages.by_ref().take_while(|page| is_zero(page)).count() * PAGE;
        if self.at >= self.bytes.len() {
            return None;
        }
        let rest = self.bytes[self.at..].chunks(PAGE);
        let len = rest.take_while(|page| !is_zero(page)).count() * PAGE;
        let start = self.at;
        self.at += len;
        Some(start..self.at)
    }
}

fn is_zero(page: &[u8]) -> bool {
    // In words, which the compiler makes wide ones of.
    let (before, words, after) = {
        // SAFETY: any bytes are valid words.
        unsafe { page.align_to::<u64>() }
    };
    before.iter().chain(after).all(|byte| *byte == 0)
        && words.iter().fold(0, |seen, word| seen | word) == 0
}

/// Maps the memory of a machine of `mib` MiB out of the file at `path`, which is what
/// it was when it was saved as `known`. What the guest writes stays its own.
///
/// # Errors
///
/// [`SnapshotError::MemoryDamaged`] when the file is another one.
pub fn map(path: &Path, known: &KnownFile, mib: u32) -> Result<GuestRam, SnapshotError> {
    let file = File::open(path).map_err(io_error("open", path))?;
    if !known.is(&file).map_err(io_error("read", path))? {
        return Err(SnapshotError::MemoryDamaged { path: path.to_owned() });
    }
    let bytes = u64::from(mib) << 20;
    let no_layout = || SnapshotError::Layout { path: path.to_owned() };
    if known.len() != bytes {
        return Err(no_layout());
    }
    let (mut offset, mut regions) = (0, Vec::new());
    for (start, len) in layout::ram_ranges(bytes) {
        let mapping = map_region(&file, offset, len)
            .map_err(|source| SnapshotError::Map { path: path.to_owned(), source })?;
        regions.push(GuestRegionMmap::new(mapping, GuestAddress(start)).ok_or_else(no_layout)?);
        offset += len;
    }
    GuestRam::from_regions(regions).map_err(|_| no_layout())
}

fn map_region(file: &File, offset: u64, len: u64) -> Result<MmapRegion<()>, MmapRegionError> {
    let file = file.try_clone().map_err(MmapRegionError::Mmap)?;
    let too_long = |_| MmapRegionError::Mmap(io::ErrorKind::OutOfMemory.into());
    MmapRegion::build(
        Some(FileOffset::new(file, offset)),
        usize::try_from(len).map_err(too_long)?,
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_NORESERVE,
    )
}

/// Has the kernel map everything in the file of `bytes` that `ram` is mapped from, to be
/// read. What is a hole in it is left to the guest's accesses.
///
/// # Errors
///
/// When the file cannot be opened or its holes are not told.
pub fn populate_all(ram: &GuestRam, path: &Path, bytes: u64) -> Result<(), SnapshotError> {
    let file = File::open(path).map_err(io_error("open", path))?;
    let mut at = 0;
    while let Some(data) = next_data(&file, at, bytes).map_err(io_error("read", path))? {
        populate(ram, &data, libc::MADV_POPULATE_READ);
        at = data.end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kvm::map_ram;
    use std::os::unix::fs::MetadataExt;
    use vm_memory::Bytes;

    #[test]
    fn memory_comes_back_and_only_its_pages_take_room() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory");
        let ram = map_ram(8).unwrap();
        for at in [0_u64, 4095, 4096, 5 << 20, (8 << 20) - 1] {
            ram.write_obj(7_u8, GuestAddress(at)).unwrap();
        }
        let file = File::create(&path).unwrap();
        file.set_len(8 << 20).unwrap();
        assert_eq!(write(&ram, &file).unwrap(), 4);
        assert!(file.metadata().unwrap().blocks() * 512 <= 1 << 20);

        let known = KnownFile::of(&path).unwrap();
        let back = map(&path, &known, 8).unwrap();
        let (mut was, mut is) = (vec![0; 8 << 20], vec![1; 8 << 20]);
        ram.read_slice(&mut was, GuestAddress(0)).unwrap();
        back.read_slice(&mut is, GuestAddress(0)).unwrap();
        assert!(was == is);

        back.write_obj(9_u8, GuestAddress(0)).unwrap();
        let other = map(&path, &known, 8).unwrap();
        assert_eq!(other.read_obj::<u8>(GuestAddress(0)).unwrap(), 7, "writes are private");
        assert!(matches!(map(&path, &known, 16), Err(SnapshotError::Layout { .. })));
    }

    #[test]
    fn a_changed_memory_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory");
        std::fs::write(&path, vec![3; 2 << 20]).unwrap();
        let known = KnownFile::of(&path).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(1 << 20).unwrap();
        assert!(matches!(map(&path, &known, 2), Err(SnapshotError::MemoryDamaged { .. })));
    }
}
