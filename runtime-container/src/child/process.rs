//! The child's steps on itself: credentials, limits, streams, `execve`.

use std::ffi::{CStr, c_char};
use std::os::fd::RawFd;

use crate::message::Order;
use crate::step::CapabilitySets;
use crate::sys::{self, Errno};

/// Signals are numbered from 1 to here on x86-64 (`_NSIG`, asm/signal.h).
const SIGNALS: i32 = 64;

/// Highest capability the kernel's interface can express
/// (`_LINUX_CAPABILITY_U32S_3`, linux/capability.h).
const CAPABILITIES: usize = 64;

/// The parent's handlers are gone already (`CLONE_CLEAR_SIGHAND`), but what a
/// shell, a service manager or the Rust runtime told it to ignore would stay
/// ignored through `execve`, and a workload expects signals to act.
pub(super) fn reset_signals() {
    for signal in 1..=SIGNALS {
        // Fails for the two that cannot be ignored either.
        let _ = sys::default_signal(signal);
    }
    let _ = sys::block_signals(0);
}

pub(super) fn await_mappings(sync: RawFd) -> Result<(), Errno> {
    if Order::receive(sync)?.0 != Order::Mapped {
        return Err(Errno(libc::EPROTO));
    }
    sys::setresgid(0)?;
    sys::setresuid(0)
}

pub(super) fn write_file(path: &CStr, data: &[u8]) -> Result<(), Errno> {
    let fd = sys::open(path, libc::O_WRONLY, 0)?;
    let written = sys::write(fd, data);
    sys::close(fd);
    written.map(drop)
}

pub(super) fn loopback_up() -> Result<(), Errno> {
    let socket = sys::inet_socket()?;
    // SAFETY: an ifreq is plain data for which zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    #[expect(clippy::cast_possible_truncation, reason = "IFF_UP is 1")]
    let up = libc::IFF_UP as libc::c_short;
    request.ifr_ifru.ifru_flags = up;
    let address = std::ptr::from_mut(&mut request).addr();
    // SAFETY: SIOCSIFFLAGS reads an ifreq.
    let result = unsafe { sys::ioctl(socket, libc::SIOCSIFFLAGS, address) };
    sys::close(socket);
    result.map(drop)
}

pub(super) fn start_session(terminal: bool) -> Result<(), Errno> {
    // EPERM: a process group leader already, as PID 1 of a namespace never is.
    sys::setsid()?;
    if terminal { take_terminal() } else { Ok(()) }
}

/// Makes standard input the terminal of the session.
pub(super) fn take_terminal() -> Result<(), Errno> {
    // SAFETY: TIOCSCTTY takes a number.
    unsafe { sys::ioctl(0, libc::TIOCSCTTY, 0) }.map(drop)
}

/// The parent may have died before the call. Then its end of the socket is
/// closed, and the child ends when it waits for the order to start.
pub(super) fn die_with_parent() -> Result<(), Errno> {
    let signal = usize::try_from(libc::SIGKILL).unwrap_or(9);
    sys::prctl(libc::PR_SET_PDEATHSIG, signal, 0).map(drop)
}

pub(super) fn limit_bounding(keep: u64) -> Result<(), Errno> {
    for capability in 0..CAPABILITIES {
        if keep >> capability & 1 == 1 {
            continue;
        }
        match sys::prctl(libc::PR_CAPBSET_DROP, capability, 0) {
            // Past the last capability this kernel knows.
            Err(Errno(libc::EINVAL)) => break,
            other => other?,
        };
    }
    Ok(())
}

pub(super) fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Result<(), Errno> {
    sys::prctl(libc::PR_SET_KEEPCAPS, 1, 0)?;
    match sys::setgroups(groups) {
        // A user namespace of an unprivileged user: its groups are all mapped to
        // nobody and cannot be changed (user_namespaces(7), "setgroups").
        Err(Errno(libc::EPERM)) if groups.is_empty() => {}
        other => other?,
    }
    sys::setresgid(gid)?;
    sys::setresuid(uid)
}

pub(super) fn set_capabilities(sets: &CapabilitySets) -> Result<(), Errno> {
    sys::capset(sets.effective, sets.permitted, sets.inheritable)?;
    let clear = usize::try_from(libc::PR_CAP_AMBIENT_CLEAR_ALL).unwrap_or(0);
    let raise = usize::try_from(libc::PR_CAP_AMBIENT_RAISE).unwrap_or(0);
    sys::prctl(libc::PR_CAP_AMBIENT, clear, 0)?;
    for capability in 0..CAPABILITIES {
        if sets.ambient >> capability & 1 == 1 {
            sys::prctl(libc::PR_CAP_AMBIENT, raise, capability)?;
        }
    }
    Ok(())
}

pub(super) fn enter(path: &CStr) -> Result<(), Errno> {
    sys::chdir(path)?;
    // A working directory named through a descriptor that leaked from the host
    // would be outside the root.
    if sys::cwd_is_reachable() { Ok(()) } else { Err(Errno(libc::EXDEV)) }
}

/// Makes the given descriptors the standard streams; all others close on exec.
pub(super) fn adopt_stdio(stdio: [RawFd; 3]) -> Result<(), Errno> {
    for (target, source) in (0..).zip(stdio) {
        sys::dup3(source, target, 0)?;
    }
    sys::cloexec_from(3)
}

/// Closes every descriptor but those `kept`.
pub(super) fn close_all_but(kept: impl Iterator<Item = RawFd> + Clone) {
    let kept = kept.map(RawFd::cast_unsigned);
    let mut first = 0;
    while let Some(next) = kept.clone().filter(|fd| *fd >= first).min() {
        if next > first {
            let _ = sys::close_range(first, next - 1);
        }
        first = next + 1;
    }
    let _ = sys::close_from(first);
}

/// Executes the first of `candidates` that can be; returns what stood in the way of
/// the best.
///
/// As `execvp(3)`: a candidate that is not there is passed over, one that may
/// not be executed is remembered, anything else ends the search.
///
/// # Safety
///
/// `argv` and `envp` must be null-terminated arrays of terminated strings.
pub(super) unsafe fn execute<'a>(
    candidates: impl Iterator<Item = &'a CStr>,
    argv: *const *const c_char,
    envp: *const *const c_char,
) -> Errno {
    let mut seen = Errno(libc::ENOENT);
    for candidate in candidates {
        // SAFETY: the caller's promise.
        let errno = unsafe { sys::execve(candidate, argv, envp) };
        match errno.0 {
            libc::ENOENT | libc::ENOTDIR => {}
            libc::EACCES => seen = errno,
            _ => return errno,
        }
    }
    seen
}
