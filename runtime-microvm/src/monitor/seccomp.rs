//! The system calls a monitor keeps once its machine runs.
//!
//! A guest that found a hole in the monitor would find a process that can
//! read its disk, talk over Unix sockets and enter the guest again; not one
//! that can open files by name for writing, start programs or reach a network.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op,
    SeccompCondition as Condition, SeccompFilter, SeccompRule, TargetArch,
};

use super::MonitorError;

/// What both threads may do: memory, locks, sockets, clocks, their own end.
const BOTH: &[libc::c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_connect,
    libc::SYS_epoll_ctl,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Debug builds of the standard library look at a descriptor before closing it.
    libc::SYS_fcntl,
    libc::SYS_futex,
    libc::SYS_getpid,
    // The message of a panic names the thread.
    libc::SYS_gettid,
    libc::SYS_getrandom,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // KVM's counters at a milestone.
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    // An access to mapped memory whose file was cut off: the standard library's handler
    // hands the signal on to the kernel, which ends us by it.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_yield,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    libc::SYS_write,
];

/// What only the event loop does besides.
const EVENT_LOOP: &[libc::c_long] = &[
    libc::SYS_accept4,
    libc::SYS_epoll_wait,
    libc::SYS_getppid,
    libc::SYS_lseek,
    libc::SYS_openat,
    libc::SYS_read,
    libc::SYS_statx,
    libc::SYS_fstat,
];

/// What a network card needs of both.
const CARD: &[libc::c_long] = &[libc::SYS_readv, libc::SYS_writev];

/// The filters of the processor's thread and of the event loop.
///
/// With a network `card` both read frames from its tap device, write them there, and
/// tell it what the guest's driver takes.
pub fn filters(card: bool) -> Result<(BpfProgram, BpfProgram), MonitorError> {
    Ok((program(&[], card)?, program(EVENT_LOOP, card)?))
}

fn program(more: &[libc::c_long], card: bool) -> Result<BpfProgram, MonitorError> {
    let failed = |error: seccompiler::BackendError| MonitorError::Seccomp(error.into());
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        BOTH.iter().chain(more).map(|call| (*call, Vec::new())).collect();
    let mut ioctls = kvm_ioctls().map_err(failed)?;
    if card {
        rules.extend(CARD.iter().map(|call| (*call, Vec::new())));
        ioctls.push(offload().map_err(failed)?);
    }
    rules.insert(libc::SYS_ioctl, ioctls);
    // Unix sockets only.
    let family = Condition::new(0, Len::Dword, Op::Eq, libc::AF_UNIX as u64).map_err(failed)?;
    let unix_only = SeccompRule::new(vec![family]).map_err(failed)?;
    rules.insert(libc::SYS_socket, vec![unix_only]);
    if more.contains(&libc::SYS_openat) {
        rules.insert(libc::SYS_openat, read_only().map_err(failed)?);
    }
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        TargetArch::x86_64,
    )
    .map_err(failed)?;
    filter.try_into().map_err(failed)
}

/// ioctls of the kind KVM has (type 0xae, linux/kvm.h), and making a socket
/// non-blocking.
fn kvm_ioctls() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    const KVMIO: u64 = 0xae << 8;
    const TYPE: u64 = 0xff << 8;
    let kvm = Condition::new(1, Len::Dword, Op::MaskedEq(TYPE), KVMIO)?;
    let nonblocking = Condition::new(1, Len::Dword, Op::Eq, libc::FIONBIO)?;
    Ok(vec![SeccompRule::new(vec![kvm])?, SeccompRule::new(vec![nonblocking])?])
}

/// Telling a tap device what can be left to the guest.
fn offload() -> Result<SeccompRule, seccompiler::BackendError> {
    let request = Condition::new(1, Len::Dword, Op::Eq, libc::TUNSETOFFLOAD)?;
    SeccompRule::new(vec![request])
}

/// Opening files to read them: the console log, for an error message.
fn read_only() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let writing = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC) as u64;
    let reads = Condition::new(2, Len::Dword, Op::MaskedEq(writing), libc::O_RDONLY as u64)?;
    Ok(vec![SeccompRule::new(vec![reads])?])
}
