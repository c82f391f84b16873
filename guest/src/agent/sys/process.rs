//! Processes, their credentials and their limits.

use core::arch::asm;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::{MaybeUninit, size_of};
use core::ptr;

use super::{Errno, Fd, Result, outcome, syscall};
use crate::protocol::Capabilities;

/// Makes namespaces for this process (or, for pids, for its children).
pub fn unshare(flags: c_int) -> Result<()> {
    // SAFETY: no memory is passed.
    unsafe { syscall!(SYS_unshare, flags)? };
    Ok(())
}

/// A process made by [`clone_onto`].
#[derive(Debug)]
pub struct Clone {
    /// Its id, in this process's pid namespace.
    pub pid: c_int,
    /// A descriptor that polls readable when it has ended.
    pub pidfd: Fd,
}

/// Makes a child that runs `entry(argument)` on a stack of its own.
///
/// # Safety
///
/// `stack_top` must be the 16-byte aligned end of enough writable memory that
/// nobody uses while the child does. With `CLONE_VM` the child shares this
/// process's memory: `CLONE_VFORK` must be there too, and `entry` must do
/// nothing to it that this process does not expect.
pub unsafe fn clone_onto(
    flags: c_int,
    stack_top: *mut u8,
    entry: extern "C" fn(*mut c_void) -> !,
    argument: *mut c_void,
) -> Result<Clone> {
    let mut pidfd: c_int = -1;
    let flags = i64::from(flags | libc::CLONE_PIDFD | libc::SIGCHLD);
    let result: isize;
    // SAFETY: the child returns from the call on its own stack with rax = 0 and
    // leaves by calling `entry`, which never returns; the parent goes on as
    // after any system call. The caller vouches for stack and memory.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone => result,
            in("rdi") flags,
            in("rsi") stack_top,
            in("rdx") &raw mut pidfd,
            in("r10") 0_usize,
            in("r8") 0_usize,
            in("r12") argument,
            in("r13") entry,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    let pid = c_int::try_from(outcome(result)?).map_err(|_| Errno::INVAL)?;
    // SAFETY: the kernel has made the descriptor for us (CLONE_PIDFD).
    Ok(Clone { pid, pidfd: unsafe { Fd::from_raw(pidfd) } })
}

/// Replaces the program. Returns only on failure.
///
/// # Safety
///
/// `argv` and `envp` must be null-terminated arrays of C strings.
pub unsafe fn exec(
    path: &CStr,
    argv: *const *const c_char,
    envp: *const *const c_char,
) -> Errno {
    // SAFETY: the caller vouches for the arrays.
    match unsafe { syscall!(SYS_execve, path, argv, envp) } {
        Ok(_) => Errno::INVAL,
        Err(errno) => errno,
    }
}

/// Ends this process, whatever its memory is shared with.
pub fn exit(code: c_int) -> ! {
    loop {
        // SAFETY: no memory is passed.
        let _ = unsafe { syscall!(SYS_exit_group, code) };
    }
}

/// Reaps child `pid` (any, with -1): its id and status word. `None` when
/// `WNOHANG` is among `options` and none has ended.
pub fn wait(pid: c_int, options: c_int) -> Result<Option<(c_int, c_int)>> {
    let mut status: c_int = 0;
    loop {
        // SAFETY: `status` is valid for writes; resource usage is not wanted.
        let reaped = unsafe {
            syscall!(SYS_wait4, pid, &raw mut status, options | libc::__WALL, 0_usize)
        };
        match reaped {
            Ok(0) => return Ok(None),
            Ok(pid) => return Ok(Some((c_int::try_from(pid).unwrap_or(-1), status))),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// The signal that an ended child's status word says it was killed by.
pub fn killed_by(status: c_int) -> Option<c_int> {
    libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status))
}

/// Sends `signal` to process `pid`.
pub fn kill(pid: c_int, signal: c_int) -> Result<()> {
    // SAFETY: no memory is passed.
    unsafe { syscall!(SYS_kill, pid, signal)? };
    Ok(())
}

/// Size of the kernel's signal set (`_NSIG / 8`, asm/signal.h).
const SIGNAL_SET_SIZE: usize = size_of::<u64>();

/// Sets the mask of blocked signals: bit n is signal n + 1.
pub fn set_mask(mask: u64) -> Result<()> {
    let how = libc::SIG_SETMASK;
    // SAFETY: `mask` is valid for reads; the old mask is not wanted.
    unsafe {
        syscall!(SYS_rt_sigprocmask, how, &raw const mask, 0_usize, SIGNAL_SET_SIZE)?;
    }
    Ok(())
}

/// Waits for any of the blocked signals in `mask` and takes it.
pub fn wait_signal(mask: u64) -> Result<c_int> {
    // SAFETY: `mask` is valid for reads; no information, no timeout.
    let signal = unsafe {
        syscall!(SYS_rt_sigtimedwait, &raw const mask, 0_usize, 0_usize, SIGNAL_SET_SIZE)?
    };
    Ok(c_int::try_from(signal).unwrap_or(0))
}

/// Makes this process the leader of a new session.
pub fn set_session() -> Result<()> {
    // SAFETY: no memory is passed.
    unsafe { syscall!(SYS_setsid)? };
    Ok(())
}

/// Sets the time of day, in seconds since 1970 and nanoseconds.
pub fn set_clock(seconds: i64, nanoseconds: i64) -> Result<()> {
    let time = [seconds, nanoseconds];
    // SAFETY: the kernel reads two 64-bit numbers (struct __kernel_timespec).
    unsafe { syscall!(SYS_clock_settime, libc::CLOCK_REALTIME, time.as_ptr())? };
    Ok(())
}

/// Sets the host name.
pub fn set_hostname(name: &CStr) -> Result<()> {
    // SAFETY: `name` is valid for reads of its length.
    unsafe { syscall!(SYS_sethostname, name, name.to_bytes().len())? };
    Ok(())
}

/// Lets others run.
pub fn yield_now() {
    // SAFETY: no memory is passed. It always succeeds (sched_yield(2)).
    let _ = unsafe { syscall!(SYS_sched_yield) };
}

/// Sets the file mode creation mask.
pub fn umask(mask: u32) {
    // SAFETY: no memory is passed; the call cannot fail.
    let _ = unsafe { syscall!(SYS_umask, mask) };
}

/// Sets a resource limit of this process.
pub fn prlimit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = [soft, hard];
    // SAFETY: the kernel reads two 64-bit numbers (struct rlimit64).
    unsafe { syscall!(SYS_prlimit64, 0, resource, limit.as_ptr(), 0_usize)? };
    Ok(())
}

/// `prctl(2)` with two arguments that are numbers.
pub fn prctl(option: c_int, first: u64, second: u64) -> Result<usize> {
    // SAFETY: the options used by this crate take numbers only.
    unsafe { syscall!(SYS_prctl, option, first, second, 0_usize, 0_usize) }
}

/// Sets the supplementary groups.
pub fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: `groups` is valid for reads of its length.
    unsafe { syscall!(SYS_setgroups, groups.len(), groups.as_ptr())? };
    Ok(())
}

/// Sets real, effective and saved group id.
pub fn set_gid(gid: u32) -> Result<()> {
    // SAFETY: no memory is passed.
    unsafe { syscall!(SYS_setresgid, gid, gid, gid)? };
    Ok(())
}

/// Sets real, effective and saved user id.
pub fn set_uid(uid: u32) -> Result<()> {
    // SAFETY: no memory is passed.
    unsafe { syscall!(SYS_setresuid, uid, uid, uid)? };
    Ok(())
}

/// Sets the effective, permitted and inheritable capabilities.
pub fn capset(sets: &Capabilities) -> Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3`, linux/capability.h.
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let low = |set: u64| u32::try_from(set & u64::from(u32::MAX)).unwrap_or(0);
    let high = |set: u64| low(set >> 32);
    let data = [
        [low(sets.effective), low(sets.permitted), low(sets.inheritable)],
        [high(sets.effective), high(sets.permitted), high(sets.inheritable)],
    ];
    // SAFETY: header and data have the layout of struct __user_cap_header_struct
    // and two of struct __user_cap_data_struct.
    unsafe { syscall!(SYS_capset, header.as_ptr(), data.as_ptr())? };
    Ok(())
}

/// Processes and threads on this machine now, the kernel's included.
pub fn pids_in_use() -> Result<u32> {
    let mut info = MaybeUninit::<libc::sysinfo>::uninit();
    // SAFETY: `info` has room for the result.
    unsafe { syscall!(SYS_sysinfo, info.as_mut_ptr())? };
    // SAFETY: the kernel has filled it.
    Ok(u32::from(unsafe { info.assume_init() }.procs))
}

/// Ends the machine the slow way, through the kernel. A restart, which a monitor
/// takes for an end; without ACPI a power-off would only halt.
pub fn restart() {
    // SAFETY: no memory is passed; magic numbers from linux/reboot.h.
    let _ = unsafe {
        syscall!(
            SYS_reboot,
            libc::LINUX_REBOOT_MAGIC1,
            libc::LINUX_REBOOT_MAGIC2,
            libc::LINUX_REBOOT_CMD_RESTART,
            ptr::null::<u8>(),
        )
    };
}
