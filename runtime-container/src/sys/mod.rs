//! System calls as the child half needs them: straight to the kernel.
//!
//! The child is a `clone3` copy of a process that may have had other threads,
//! so it must not call anything that could take a lock one of them held, such
//! as the allocator. A raw system call takes no lock and does not even touch
//! `errno`. The wrappers here are the only place in the crate that names a
//! system call number for the child.

use std::arch::asm;
use std::ffi::CStr;
use std::io;
use std::os::fd::RawFd;

/// An error number of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(pub i32);

impl From<Errno> for io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.0)
    }
}

/// Result of a raw system call.
pub(crate) type Result<T> = std::result::Result<T, Errno>;

/// Error numbers are returned as the last page of the address space
/// (`MAX_ERRNO`, linux/err.h).
const MAX_ERRNO: i64 = 4095;

/// Makes system call `number`.
///
/// # Safety
///
/// As for the system call itself: pointers among `args` must be valid for what
/// the kernel does with them.
pub(crate) unsafe fn syscall(number: libc::c_long, args: [usize; 6]) -> Result<usize> {
    let returned: i64;
    // SAFETY: the x86-64 system call convention (System V ABI supplement,
    // A.2.1): arguments in these registers, rcx and r11 overwritten. What the
    // call does to memory is the caller's promise.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => returned,
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
    if (-MAX_ERRNO..0).contains(&returned) {
        let errno = i32::try_from(-returned).unwrap_or(libc::EINVAL);
        return Err(Errno(errno));
    }
    Ok(bits(returned.cast_unsigned()))
}

macro_rules! call {
    ($number:ident $(, $arg:expr)* $(,)?) => {{
        let given = [$($arg),*];
        let mut args = [0_usize; 6];
        args[..given.len()].copy_from_slice(&given);
        syscall(libc::$number, args)
    }};
}

mod files;
mod sockets;

pub(crate) use files::*;
pub(crate) use sockets::*;

fn text(string: &CStr) -> usize {
    string.as_ptr().addr()
}

/// A descriptor or other signed number as the register holds it.
#[expect(clippy::cast_sign_loss, reason = "registers are 64 bits, sign-extended")]
fn reg(number: i32) -> usize {
    number as isize as usize
}

fn bits(flags: impl Into<u64>) -> usize {
    // usize is 64 bits on the only architecture this crate has.
    let flags: u64 = flags.into();
    usize::try_from(flags).unwrap_or(usize::MAX)
}

/// `clone3(2)` as `fork`: no new stack. Returns 0 in the child.
///
/// # Safety
///
/// The child runs on a copy of the caller's memory and must make only raw
/// system calls until it execs or exits.
pub(crate) unsafe fn clone3(args: &mut libc::clone_args) -> Result<usize> {
    let size = size_of::<libc::clone_args>();
    // SAFETY: `args` is a valid clone_args of that size, without CLONE_VM.
    unsafe { call!(SYS_clone3, std::ptr::from_mut(args).addr(), size) }
}

/// `fork(2)`: unlike `clone3`, open to a process behind a seccomp filter.
///
/// # Safety
///
/// As for [`clone3`].
pub(crate) unsafe fn fork() -> Result<usize> {
    // SAFETY: takes no arguments; what the child does is the caller's promise.
    unsafe { syscall(libc::SYS_fork, [0; 6]) }
}

/// Ends the process at once, running no exit handlers.
pub(crate) fn exit(code: i32) -> ! {
    loop {
        // SAFETY: takes no pointers and does not return.
        let _ = unsafe { call!(SYS_exit_group, reg(code)) };
    }
}

pub(crate) fn unshare(flags: i32) -> Result<()> {
    // SAFETY: takes no pointers.
    unsafe { call!(SYS_unshare, reg(flags)) }.map(drop)
}

pub(crate) fn setns(fd: RawFd, flags: i32) -> Result<()> {
    // SAFETY: takes no pointers.
    unsafe { call!(SYS_setns, reg(fd), reg(flags)) }.map(drop)
}

pub(crate) fn sethostname(name: &[u8]) -> Result<()> {
    // SAFETY: the name is valid for reads of its length.
    unsafe { call!(SYS_sethostname, name.as_ptr().addr(), name.len()) }.map(drop)
}

pub(crate) fn setdomainname(name: &[u8]) -> Result<()> {
    // SAFETY: the name is valid for reads of its length.
    unsafe { call!(SYS_setdomainname, name.as_ptr().addr(), name.len()) }.map(drop)
}

/// A datagram socket to configure interfaces with.
pub(crate) fn inet_socket() -> Result<RawFd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    // SAFETY: takes no pointers.
    let fd = unsafe { call!(SYS_socket, reg(libc::AF_INET), reg(kind), 0) }?;
    Ok(RawFd::try_from(fd).unwrap_or(-1))
}

/// # Safety
///
/// `argument` must be what `request` expects.
pub(crate) unsafe fn ioctl(fd: RawFd, request: u64, argument: usize) -> Result<usize> {
    // SAFETY: the caller's promise.
    unsafe { call!(SYS_ioctl, reg(fd), bits(request), argument) }
}

pub(crate) fn setsid() -> Result<()> {
    // SAFETY: takes no arguments; the array only sets its type.
    unsafe { syscall(libc::SYS_setsid, [0; 6]) }.map(drop)
}

pub(crate) fn setrlimit(resource: u32, limit: &libc::rlimit) -> Result<()> {
    // SAFETY: `limit` is a valid rlimit; no old value is asked for.
    unsafe { call!(SYS_prlimit64, 0, bits(resource), std::ptr::from_ref(limit).addr(), 0) }
        .map(drop)
}

pub(crate) fn prctl(option: i32, argument: usize, second: usize) -> Result<usize> {
    // SAFETY: only used with options that take numbers.
    unsafe { call!(SYS_prctl, reg(option), argument, second, 0, 0) }
}

pub(crate) fn setgroups(groups: &[u32]) -> Result<()> {
    // SAFETY: the list is valid for reads of its length.
    unsafe { call!(SYS_setgroups, groups.len(), groups.as_ptr().addr()) }.map(drop)
}

pub(crate) fn setresgid(gid: u32) -> Result<()> {
    // SAFETY: takes no pointers.
    unsafe { call!(SYS_setresgid, bits(gid), bits(gid), bits(gid)) }.map(drop)
}

pub(crate) fn setresuid(uid: u32) -> Result<()> {
    // SAFETY: takes no pointers.
    unsafe { call!(SYS_setresuid, bits(uid), bits(uid), bits(uid)) }.map(drop)
}

/// `_LINUX_CAPABILITY_VERSION_3` (linux/capability.h): two words per set.
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// Replaces the effective, permitted and inheritable sets.
pub(crate) fn capset(effective: u64, permitted: u64, inheritable: u64) -> Result<()> {
    let header = [CAPABILITY_VERSION_3, 0];
    let low = |set: u64| u32::try_from(set & 0xffff_ffff).unwrap_or(0);
    let high = |set: u64| u32::try_from(set >> 32).unwrap_or(0);
    let data = [
        low(effective),
        low(permitted),
        low(inheritable),
        high(effective),
        high(permitted),
        high(inheritable),
    ];
    // SAFETY: the layouts of __user_cap_header_struct and of two
    // __user_cap_data_struct (linux/capability.h).
    unsafe { call!(SYS_capset, header.as_ptr().addr(), data.as_ptr().addr()) }.map(drop)
}

/// Installs a BPF program as seccomp filter of the calling thread.
pub(crate) fn seccomp(flags: u32, program: &[libc::sock_filter]) -> Result<()> {
    let header = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap_or(u16::MAX),
        filter: program.as_ptr().cast_mut(),
    };
    let address = std::ptr::from_ref(&header).addr();
    // SAFETY: `header` describes a program of that many instructions, which the
    // kernel only reads.
    unsafe { call!(SYS_seccomp, bits(libc::SECCOMP_SET_MODE_FILTER), bits(flags), address) }
        .map(drop)
}

/// Restores the default action of `signal`.
pub(crate) fn default_signal(signal: i32) -> Result<()> {
    // The kernel's own `struct sigaction` on x86-64: handler, flags, restorer,
    // mask, 64 bits each. All zero is SIG_DFL.
    let action = [0_u64; 4];
    // SAFETY: the layout above; no old action is asked for.
    unsafe { call!(SYS_rt_sigaction, reg(signal), action.as_ptr().addr(), 0, 8) }.map(drop)
}

/// Replaces the set of blocked signals; bit n-1 stands for signal n.
pub(crate) fn block_signals(set: u64) -> Result<()> {
    let set = [set];
    // SAFETY: the kernel's sigset_t is 64 bits; no old set is asked for.
    unsafe { call!(SYS_rt_sigprocmask, reg(libc::SIG_SETMASK), set.as_ptr().addr(), 0, 8) }
        .map(drop)
}

/// The calling process's id.
pub(crate) fn getpid() -> i32 {
    // SAFETY: takes no arguments; the array only sets its type.
    let pid = unsafe { syscall(libc::SYS_getpid, [0; 6]) };
    pid.ok().and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0)
}

/// Maps memory of the caller's own, `len` bytes, that begins as what is in `file`, or
/// as zeroes without one. Page-aligned.
pub(crate) fn map(file: Option<RawFd>, len: usize) -> Result<*mut u8> {
    let flags = libc::MAP_PRIVATE | if file.is_none() { libc::MAP_ANONYMOUS } else { 0 };
    let protection = reg(libc::PROT_READ | libc::PROT_WRITE);
    // SAFETY: the kernel chooses the place, where nothing else is.
    let at =
        unsafe { call!(SYS_mmap, 0, len, protection, reg(flags), reg(file.unwrap_or(-1)), 0) }?;
    Ok(std::ptr::with_exposed_provenance_mut(at))
}

/// Waits for a signal of `set` to be pending and takes it.
pub(crate) fn sigwait(set: u64) -> Result<i32> {
    let set = [set];
    // SAFETY: the kernel's sigset_t is 64 bits; no details and no timeout.
    let number = unsafe { call!(SYS_rt_sigtimedwait, set.as_ptr().addr(), 0, 0, 8) }?;
    Ok(i32::try_from(number).unwrap_or(0))
}

pub(crate) fn kill(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: takes no pointers.
    unsafe { call!(SYS_kill, reg(pid), reg(signal)) }.map(drop)
}

/// Sends `signal` to the process that `pidfd` is.
pub(crate) fn signal_process(pidfd: RawFd, signal: i32) -> Result<()> {
    // SAFETY: no siginfo is given.
    unsafe { call!(SYS_pidfd_send_signal, reg(pidfd), reg(signal), 0, 0) }.map(drop)
}

/// Reaps any child that has exited: its id and wait status.
pub(crate) fn reap() -> Result<Option<(i32, i32)>> {
    let mut status = 0_i32;
    let address = std::ptr::from_mut(&mut status).addr();
    // SAFETY: `status` is valid for writes; no resource usage is asked for.
    let pid = unsafe { call!(SYS_wait4, reg(-1), address, reg(libc::WNOHANG), 0) }?;
    Ok(i32::try_from(pid).ok().filter(|pid| *pid != 0).map(|pid| (pid, status)))
}

/// Executes `path`; returns only on failure.
///
/// # Safety
///
/// `argv` and `envp` must be null-terminated arrays of terminated strings.
pub(crate) unsafe fn execve(
    path: &CStr,
    argv: *const *const libc::c_char,
    envp: *const *const libc::c_char,
) -> Errno {
    // SAFETY: the caller's promise.
    match unsafe { call!(SYS_execve, text(path), argv.addr(), envp.addr()) } {
        Err(errno) => errno,
        Ok(_) => Errno(libc::EINVAL),
    }
}

const _: () = assert!(cfg!(target_arch = "x86_64"), "system call numbers are x86-64's");
