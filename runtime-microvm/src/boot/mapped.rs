//! Mapping a kernel's file into guest memory instead of copying it.
//!
//! Guests of one kernel then share its pages, as far as they do not write to
//! them, and a start does not wait for a copy of all of them. As with any
//! program that runs, the file must not be changed in place meanwhile; ours are
//! replaced by renaming.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::layout;
use crate::kvm::GuestRam;

/// `Elf64_Ehdr` and `Elf64_Phdr` (elf.h): their sizes, and where fields are.
const HEADER_LEN: usize = 64;
const PROGRAM_HEADER_LEN: usize = 56;
const PT_LOAD: u64 = 1;
/// More than any kernel has.
const MAX_PROGRAM_HEADERS: u64 = 64;
const PAGE: u64 = 4096;

/// A piece of the file and where it belongs.
#[derive(Debug, Clone, Copy)]
struct Segment {
    offset: u64,
    address: u64,
    len: u64,
}

/// Maps the segments of an ELF kernel and returns its entry point; `None` when
/// they cannot be mapped, and then nothing was.
pub fn map_elf(ram: &GuestRam, file: &File) -> io::Result<Option<GuestAddress>> {
    let mut header = [0; HEADER_LEN];
    file.read_exact_at(&mut header, 0)?;
    let Some(segments) = segments(file, &header)? else { return Ok(None) };
    if !are_mappable(&segments, ram, file.metadata()?.len()) {
        return Ok(None);
    }
    for segment in segments {
        map(ram, file, segment)?;
    }
    Ok(Some(GuestAddress(number(&header, 24, 8))))
}

/// The segments to load, unless the file is not an ELF file for x86-64.
fn segments(file: &File, header: &[u8; HEADER_LEN]) -> io::Result<Option<Vec<Segment>>> {
    const CLASS64_LITTLE_ENDIAN: [u8; 2] = [2, 1];
    const X86_64: u64 = 62;
    let (table, size, count) =
        (number(header, 32, 8), number(header, 54, 2), number(header, 56, 2));
    if header[4..6] != CLASS64_LITTLE_ENDIAN
        || number(header, 18, 2) != X86_64
        || size != PROGRAM_HEADER_LEN as u64
        || count > MAX_PROGRAM_HEADERS
    {
        return Ok(None);
    }
    let mut segments = Vec::new();
    for index in 0..count {
        let Some(at) = table.checked_add(index * size) else { return Ok(None) };
        let mut entry = [0; PROGRAM_HEADER_LEN];
        file.read_exact_at(&mut entry, at)?;
        let (offset, address) = (number(&entry, 8, 8), number(&entry, 24, 8));
        let len = number(&entry, 32, 8);
        if number(&entry, 0, 4) == PT_LOAD && len > 0 {
            segments.push(Segment { offset, address, len });
        }
    }
    Ok(Some(segments))
}

/// Whether the segments begin on pages, lie in the file and in high guest
/// memory, and share no page.
fn are_mappable(segments: &[Segment], ram: &GuestRam, file_len: u64) -> bool {
    let mut free_from = layout::HIGH_MEMORY.0;
    for segment in segments {
        let Segment { offset, address, len } = *segment;
        let aligned = offset.is_multiple_of(PAGE) && address.is_multiple_of(PAGE);
        let in_file = offset.checked_add(len).is_some_and(|end| end <= file_len);
        let in_memory = usize::try_from(len)
            .is_ok_and(|len| ram.get_slice(GuestAddress(address), len).is_ok());
        if !aligned || !in_file || !in_memory || address < free_from {
            return false;
        }
        free_from = (address + len).next_multiple_of(PAGE);
    }
    !segments.is_empty()
}

/// Maps the whole pages of a segment and copies the rest of it, behind which
/// memory stays zero.
fn map(ram: &GuestRam, file: &File, segment: Segment) -> io::Result<()> {
    let outside = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let whole = segment.len - segment.len % PAGE;
    if whole > 0 {
        let start = ram.get_host_address(GuestAddress(segment.address)).map_err(outside)?;
        let len = usize::try_from(whole).map_err(|_| io::ErrorKind::InvalidInput)?;
        let offset =
            libc::off_t::try_from(segment.offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: `are_mappable` saw that the range is guest memory in one piece, which
        // is ours to replace: nothing refers into it yet, and `ram` unmaps it as a whole.
        let mapped = unsafe {
            libc::mmap(
                start.cast(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_FIXED | libc::MAP_NORESERVE,
                file.as_raw_fd(),
                offset,
            )
        };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
    }
    let mut rest = vec![0; usize::try_from(segment.len - whole).unwrap_or(0)];
    file.read_exact_at(&mut rest, segment.offset + whole)?;
    ram.write_slice(&rest, GuestAddress(segment.address + whole)).map_err(outside)
}

/// The little-endian number of `len` bytes at `at`.
fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes[at..at + len].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
