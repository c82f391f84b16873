//! Single system calls.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::hint::black_box;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::Operation;
use crate::sys::{check, now_ns};

/// An operation without state.
struct Plain(fn() -> io::Result<()>);

impl Operation for Plain {
    fn run(&mut self, rounds: u64) -> io::Result<()> {
        for _ in 0..rounds {
            (self.0)()?;
        }
        Ok(())
    }
}

pub fn getppid() -> io::Result<Box<dyn Operation>> {
    Ok(Box::new(Plain(|| {
        // SAFETY: no arguments, no effect.
        check(unsafe { libc::syscall(libc::SYS_getppid) }).map(drop)
    })))
}

pub fn clock_gettime() -> io::Result<Box<dyn Operation>> {
    Ok(Box::new(Plain(|| {
        black_box(now_ns());
        Ok(())
    })))
}

pub fn futex_wake() -> io::Result<Box<dyn Operation>> {
    Ok(Box::new(Plain(|| {
        let word = 0_u32;
        let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: `word` lives during the call, which only uses its address.
        check(unsafe { libc::syscall(libc::SYS_futex, &raw const word, operation, 1) })
            .map(drop)
    })))
}

/// Reading or writing at offset 0 of a memfd that is in the page cache.
struct Transfer {
    file: File,
    buffer: Vec<u8>,
    write: bool,
}

impl Transfer {
    fn set_up(size: usize, write: bool) -> io::Result<Box<dyn Operation>> {
        let file = memfd()?;
        let buffer = vec![0xA5; size];
        file.write_all_at(&buffer, 0)?;
        Ok(Box::new(Self { file, buffer, write }))
    }
}

impl Operation for Transfer {
    fn run(&mut self, rounds: u64) -> io::Result<()> {
        for _ in 0..rounds {
            let count = if self.write {
                self.file.write_at(&self.buffer, 0)?
            } else {
                self.file.read_at(&mut self.buffer, 0)?
            };
            if count != self.buffer.len() {
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
        }
        Ok(())
    }
}

pub fn read_1b() -> io::Result<Box<dyn Operation>> {
    Transfer::set_up(1, false)
}

pub fn read_64k() -> io::Result<Box<dyn Operation>> {
    Transfer::set_up(64 << 10, false)
}

pub fn write_1b() -> io::Result<Box<dyn Operation>> {
    Transfer::set_up(1, true)
}

pub fn write_64k() -> io::Result<Box<dyn Operation>> {
    Transfer::set_up(64 << 10, true)
}

/// An empty file without a name, in memory on every wall.
pub fn memfd() -> io::Result<File> {
    // SAFETY: the name is a terminated string; the result, when not -1, is a new
    // descriptor that nothing else owns.
    unsafe {
        let fd = check(libc::memfd_create(c"probe".as_ptr(), libc::MFD_CLOEXEC))?;
        Ok(File::from_raw_fd(fd))
    }
}

/// Opens the program's own file by its last path component, so that the length
/// of the path, which differs between walls, does not count.
struct OpenClose {
    directory: File,
    name: CString,
}

impl Operation for OpenClose {
    fn run(&mut self, rounds: u64) -> io::Result<()> {
        for _ in 0..rounds {
            // SAFETY: directory and name are valid; the descriptor returned is closed
            // here and used nowhere else.
            unsafe {
                let flags = libc::O_RDONLY | libc::O_CLOEXEC;
                let fd = libc::openat(self.directory.as_raw_fd(), self.name.as_ptr(), flags);
                libc::close(check(fd)?);
            }
        }
        Ok(())
    }
}

pub fn open_close() -> io::Result<Box<dyn Operation>> {
    let program = std::fs::read_link("/proc/self/exe")?;
    let directory = program.parent().unwrap_or(Path::new("/"));
    let name = program.file_name().unwrap_or(OsStr::new("probe")).as_bytes();
    let directory = File::options()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(directory)?;
    Ok(Box::new(OpenClose { directory, name: CString::new(name)? }))
}

struct Fstat(File);

impl Operation for Fstat {
    fn run(&mut self, rounds: u64) -> io::Result<()> {
        for _ in 0..rounds {
            // SAFETY: `struct stat` is plain data, valid when all zero, and writable.
            unsafe {
                let mut status: libc::stat = std::mem::zeroed();
                check(libc::fstat(self.0.as_raw_fd(), &raw mut status))?;
            }
        }
        Ok(())
    }
}

pub fn fstat() -> io::Result<Box<dyn Operation>> {
    Ok(Box::new(Fstat(File::open("/proc/self/exe")?)))
}
