//! Descriptors: owning, reading, writing, waiting.

use alloc::vec::Vec;
use core::ffi::c_int;

use super::{Errno, Result, syscall};

/// A descriptor that is closed when dropped.
#[derive(Debug)]
pub struct Fd(c_int);

impl Fd {
    /// Takes over a descriptor that a system call has returned.
    pub(super) fn returned(value: usize) -> Result<Self> {
        c_int::try_from(value).map(Self).map_err(|_| Errno::INVAL)
    }

    /// Takes over `raw`.
    ///
    /// # Safety
    ///
    /// Nobody else may own it.
    pub unsafe fn from_raw(raw: c_int) -> Self {
        Self(raw)
    }

    /// Its number.
    pub fn raw(&self) -> c_int {
        self.0
    }

    /// Gives up ownership: the descriptor stays open.
    pub fn leak(self) {
        core::mem::forget(self);
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: the descriptor is owned, so nobody else uses it.
        let _ = unsafe { syscall!(SYS_close, self.0) };
    }
}

/// A pipe, both ends closed on exec: `(read, write)`.
pub fn pipe() -> Result<(Fd, Fd)> {
    let mut ends = [0_i32; 2];
    // SAFETY: `ends` has room for the two descriptors.
    unsafe { syscall!(SYS_pipe2, ends.as_mut_ptr(), libc::O_CLOEXEC)? };
    Ok((Fd(ends[0]), Fd(ends[1])))
}

/// Has a pipe hold `bytes` at least.
pub fn pipe_size(pipe: &Fd, bytes: usize) -> Result<()> {
    // SAFETY: no memory is passed.
    unsafe { syscall!(SYS_fcntl, pipe.raw(), libc::F_SETPIPE_SZ, bytes)? };
    Ok(())
}

/// Makes reads and writes through `fd` return [`Errno::AGAIN`] instead of waiting.
pub fn nonblocking(fd: &Fd) -> Result<()> {
    // SAFETY: no memory is passed.
    unsafe { syscall!(SYS_fcntl, fd.raw(), libc::F_SETFL, libc::O_NONBLOCK)? };
    Ok(())
}

/// A duplicate at the lowest free number, closed on exec.
pub fn duplicate(fd: &Fd) -> Result<Fd> {
    // SAFETY: no memory is passed.
    Fd::returned(unsafe { syscall!(SYS_fcntl, fd.raw(), libc::F_DUPFD_CLOEXEC, 0)? })
}

/// Makes `target` a duplicate of `fd`, kept on exec.
pub fn dup_onto(fd: c_int, target: c_int) -> Result<()> {
    // SAFETY: no memory is passed.
    unsafe { syscall!(SYS_dup2, fd, target)? };
    Ok(())
}

/// Closes every descriptor.
///
/// # Safety
///
/// No [`Fd`] may be used or dropped afterwards.
pub unsafe fn close_range_all() {
    // SAFETY: no memory is passed; the caller vouches for the descriptors.
    let _ = unsafe { syscall!(SYS_close_range, 0_u32, u32::MAX, 0_u32) };
}

/// Closes every descriptor from `first` on.
///
/// # Safety
///
/// No [`Fd`] that is one of them may be used or dropped afterwards.
pub unsafe fn close_range_from(first: c_int) {
    // SAFETY: no memory is passed; the caller vouches for the descriptors.
    let _ = unsafe { syscall!(SYS_close_range, first, u32::MAX, 0_u32) };
}

/// Reads up to `most` bytes behind the content of `buffer`, within its capacity.
pub fn read_append(fd: &Fd, buffer: &mut Vec<u8>, most: usize) -> Result<usize> {
    let spare = buffer.spare_capacity_mut();
    let most = most.min(spare.len());
    // SAFETY: the kernel writes at most `most` bytes into the spare capacity.
    let count = unsafe { syscall!(SYS_read, fd.raw(), spare.as_mut_ptr(), most)? };
    // SAFETY: the kernel has initialised `count` bytes of the spare capacity.
    unsafe { buffer.set_len(buffer.len() + count) };
    Ok(count)
}

/// Reads into `buffer`, waiting out signals.
pub fn read_slice(fd: &Fd, buffer: &mut [u8]) -> Result<usize> {
    loop {
        // SAFETY: `buffer` is valid for writes of its length.
        match unsafe { syscall!(SYS_read, fd.raw(), buffer.as_mut_ptr(), buffer.len()) } {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Writes some of `bytes` to a descriptor by its number.
pub fn write_raw(fd: c_int, bytes: &[u8]) -> Result<usize> {
    // SAFETY: `bytes` is valid for reads of its length.
    unsafe { syscall!(SYS_write, fd, bytes.as_ptr(), bytes.len()) }
}

/// Writes some of `bytes`.
pub fn write(fd: &Fd, bytes: &[u8]) -> Result<usize> {
    // SAFETY: `bytes` is valid for reads of its length.
    unsafe { syscall!(SYS_write, fd.raw(), bytes.as_ptr(), bytes.len()) }
}

/// Waits until something happens on one of `fds` or `timeout_ms` have passed;
/// -1 waits for ever. True when something happened.
pub fn poll(fds: &mut [libc::pollfd], timeout_ms: c_int) -> Result<bool> {
    loop {
        // SAFETY: `fds` is valid for reads and writes of its length.
        match unsafe { syscall!(SYS_poll, fds.as_mut_ptr(), fds.len(), timeout_ms) } {
            Err(Errno::INTR) => {}
            other => return other.map(|count| count > 0),
        }
    }
}
