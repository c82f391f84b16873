//! The memory in which requests and answers travel between monitor and file server.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::{self, NonNull};

/// Most bytes of file content in one request or answer: 256 pages, the most Linux asks
/// for (`FUSE_MAX_MAX_PAGES`, fs/fuse/fuse_i.h).
pub const MAX_TRANSFER: usize = 1 << 20;
/// Room for that and for what goes before it.
pub const WINDOW_LEN: usize = MAX_TRANSFER + (16 << 10);

/// Memory that another process has, too. It can change at any time: what is decided upon
/// is copied first.
#[derive(Debug)]
pub struct Window {
    start: NonNull<u8>,
}

// SAFETY: plain memory; all access is by copying.
unsafe impl Send for Window {}

impl Window {
    /// A file to be such memory.
    ///
    /// # Errors
    ///
    /// When the kernel has no memory.
    pub fn file() -> io::Result<OwnedFd> {
        use nix::fcntl::{FcntlArg, SealFlag, fcntl};
        use nix::sys::memfd::{MFdFlags, memfd_create};
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = File::from(memfd_create(c"files", flags)?);
        file.set_len(WINDOW_LEN as u64)?;
        // Neither side can take it from under the other.
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        Ok(file.into())
    }

    /// Maps such a file.
    ///
    /// # Errors
    ///
    /// When it is another one, or cannot be mapped.
    pub fn map(file: impl AsFd) -> io::Result<Self> {
        let fd = file.as_fd();
        if File::from(fd.try_clone_to_owned()?).metadata()?.len() != WINDOW_LEN as u64 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the kernel chooses an address that is free.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                WINDOW_LEN,
                protection,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start })
    }

    /// Address of the byte at `offset`, and how many follow it.
    #[must_use]
    pub fn at(&self, offset: usize) -> (*mut u8, usize) {
        let offset = offset.min(WINDOW_LEN);
        // SAFETY: within the mapping, or its end.
        (unsafe { self.start.as_ptr().add(offset) }, WINDOW_LEN - offset)
    }

    /// Copies bytes at `offset` to `out`; what is beyond the end is left out.
    pub fn read(&self, offset: usize, out: &mut [u8]) {
        let (from, room) = self.at(offset);
        // SAFETY: both are valid for that many bytes and do not overlap.
        unsafe { ptr::copy_nonoverlapping(from, out.as_mut_ptr(), out.len().min(room)) };
    }

    /// Copies `bytes` to `offset`; what is beyond the end is left out.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        let (to, room) = self.at(offset);
        // SAFETY: both are valid for that many bytes and do not overlap.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len().min(room)) };
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nothing refers to any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), WINDOW_LEN) };
    }
}
