//! Mappings and page faults.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};

use super::Operation;
use super::calls::memfd;
use crate::sys::check;

/// Size of a page on x86-64.
const PAGE: usize = 4096;

/// Pages in the region that is faulted in and given back in one round. Large
/// enough that the system call which gives them back hardly counts, small
/// enough for a guest in which each of them takes milliseconds.
const PAGES: u8 = 16;

/// A mapping that is removed when dropped.
pub(super) struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

impl Mapping {
    pub(super) fn new(length: usize, flags: i32, file: Option<&File>) -> io::Result<Self> {
        let fd = file.map_or(-1, AsRawFd::as_raw_fd);
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { start, length })
    }

    /// Writes to the first byte of page `index`.
    fn touch(&self, index: usize) {
        debug_assert!((index + 1) * PAGE <= self.length);
        // SAFETY: the page is within the mapping, which is writable and not
        // referenced otherwise.
        unsafe { self.start.as_ptr().add(index * PAGE).write_volatile(1) }
    }

    /// All of an anonymous mapping, as numbers.
    pub(super) fn numbers(&mut self) -> &mut [f64] {
        // SAFETY: the kernel gives whole pages, aligned and zeroed, which are valid
        // numbers; the borrow is exclusive and ends before the mapping does.
        unsafe {
            let start = self.start.as_ptr().cast();
            std::slice::from_raw_parts_mut(start, self.length / size_of::<f64>())
        }
    }

    fn advise(&self, advice: i32) -> io::Result<()> {
        // SAFETY: the range is the whole mapping; nothing in it is read again
        // without being written first.
        check(unsafe { libc::madvise(self.start.as_ptr().cast(), self.length, advice) })
            .map(drop)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is the whole mapping, of which no reference is left.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

pub(super) const ANONYMOUS: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;

struct MapCycle;

impl Operation for MapCycle {
    fn run(&mut self, rounds: u64) -> io::Result<()> {
        for _ in 0..rounds {
            Mapping::new(PAGE, ANONYMOUS, None)?.touch(0);
        }
        Ok(())
    }
}

pub fn map_cycle() -> io::Result<Box<dyn Operation>> {
    Ok(Box::new(MapCycle))
}

struct Faults(Mapping);

impl Operation for Faults {
    fn run(&mut self, rounds: u64) -> io::Result<()> {
        for _ in 0..rounds {
            for page in 0..PAGES {
                self.0.touch(page.into());
            }
            self.0.advise(libc::MADV_DONTNEED)?;
        }
        Ok(())
    }

    fn per_round(&self) -> u64 {
        PAGES.into()
    }
}

pub fn fault_anon() -> io::Result<Box<dyn Operation>> {
    let region = Mapping::new(usize::from(PAGES) * PAGE, ANONYMOUS, None)?;
    Ok(Box::new(Faults(region)))
}

/// A write to a shared file page takes one fault for each page; a read would
/// map its neighbours too (fault-around, mm/memory.c).
pub fn fault_file() -> io::Result<Box<dyn Operation>> {
    let length = usize::from(PAGES) * PAGE;
    let file = memfd()?;
    file.set_len(u64::from(PAGES) * 4096)?;
    let region = Mapping::new(length, libc::MAP_SHARED, Some(&file))?;
    Ok(Box::new(Faults(region)))
}
