//! System calls without a C library.
//!
//! PID 1 runs before anything it could rely on, shares its memory with
//! half-made children (`CLONE_VM`) and is linked without a C runtime, so it
//! talks to the kernel directly. Numbers and structures come from `libc`, which
//! is used for its definitions only.

mod card;
mod fd;
mod fs;
mod net;
mod process;
mod random;
mod terminal;

use core::arch::asm;
use core::ffi::CStr;
use core::ptr;

pub use card::Card;
pub use fd::{
    Fd, close_range_all, close_range_from, dup_onto, duplicate, nonblocking, pipe, pipe_size,
    poll, read_append, read_slice, write, write_raw,
};
pub use fs::{
    access_execute, change_dir, change_dir_to, change_owner, create, directory_entries, lstat,
    make_dir, make_node, map_shared, mount, open, owner_and_mode, pivot_root, read_link,
    remove, remove_dir, set_read_only, set_writable, stream_owner, symlink, unmount_detached,
    xattr, xattr_names,
};
pub use net::{
    accept, accepts_tcp, connect_vsock, listen_vsock, loopback_up, pending_error, send,
    stream_vsock,
};
pub use process::{
    Clone, capset, clone_onto, exec, exit, kill, killed_by, pids_in_use, prctl, prlimit,
    restart, set_clock, set_gid, set_groups, set_hostname, set_mask, set_session, set_uid,
    umask, unshare, wait, wait_signal, yield_now,
};
pub use random::{add_entropy, reseed};
pub use terminal::{control_terminal, new_terminal, peer, set_terminal_size, terminal_number};

/// An error number of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

/// Outcome of a system call.
pub type Result<T> = core::result::Result<T, Errno>;

impl Errno {
    pub const AGAIN: Self = Self(libc::EAGAIN);
    pub const BUSY: Self = Self(libc::EBUSY);
    pub const EXIST: Self = Self(libc::EEXIST);
    pub const INTR: Self = Self(libc::EINTR);
    pub const INVAL: Self = Self(libc::EINVAL);
    pub const NODEV: Self = Self(libc::ENODEV);
    pub const NOENT: Self = Self(libc::ENOENT);
    pub const NOTDIR: Self = Self(libc::ENOTDIR);
    pub const PIPE: Self = Self(libc::EPIPE);
    pub const ROFS: Self = Self(libc::EROFS);
}

/// An argument of a system call.
trait Argument {
    fn into_register(self) -> usize;
}

impl Argument for usize {
    fn into_register(self) -> usize {
        self
    }
}

impl Argument for u64 {
    fn into_register(self) -> usize {
        // Registers have 64 bits on the one architecture this is for.
        usize::from_ne_bytes(self.to_ne_bytes())
    }
}

impl Argument for u32 {
    fn into_register(self) -> usize {
        u64::from(self).into_register()
    }
}

impl Argument for i32 {
    fn into_register(self) -> usize {
        i64::from(self).cast_unsigned().into_register()
    }
}

impl<T> Argument for *const T {
    fn into_register(self) -> usize {
        self.expose_provenance()
    }
}

impl<T> Argument for *mut T {
    fn into_register(self) -> usize {
        self.expose_provenance()
    }
}

impl Argument for &CStr {
    fn into_register(self) -> usize {
        self.as_ptr().expose_provenance()
    }
}

impl Argument for Option<&CStr> {
    fn into_register(self) -> usize {
        self.map_or(ptr::null(), CStr::as_ptr).expose_provenance()
    }
}

/// Makes system call `number`.
///
/// # Safety
///
/// The arguments must be what the call wants; what it writes to must be valid.
unsafe fn raw(number: i64, args: [usize; 6]) -> Result<usize> {
    let result: isize;
    // SAFETY: the kernel clobbers rax, rcx and r11 only (AMD64 ABI, A.2.1); the
    // caller vouches for the arguments.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r9") args[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    outcome(result)
}

/// The kernel returns -4095..=-1 for an error (`IS_ERR_VALUE`, linux/err.h).
fn outcome(result: isize) -> Result<usize> {
    usize::try_from(result)
        .map_err(|_| Errno(i32::try_from(result.wrapping_neg()).unwrap_or(libc::EINVAL)))
}

/// The registers of a call with fewer than six arguments.
fn registers<const GIVEN: usize>(given: [usize; GIVEN]) -> [usize; 6] {
    core::array::from_fn(|at| given.get(at).copied().unwrap_or(0))
}

/// `syscall!(SYS_x, a, b)`: makes a system call with up to six arguments.
macro_rules! syscall {
    ($number:ident $(, $arg:expr)* $(,)?) => {
        $crate::agent::sys::raw(
            libc::$number,
            $crate::agent::sys::registers([
                $($crate::agent::sys::Argument::into_register($arg)),*
            ]),
        )
    };
}
use syscall;
