//! The default profile, in the shape of docker's: what ordinary programs use
//! is allowed by name, everything else fails with `EPERM`.

use std::collections::HashSet;

use oci_spec::runtime::{
    Arch, Capabilities, Capability, LinuxSeccomp, LinuxSeccompAction as Action,
    LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompOperator as Operator, LinuxSyscall,
};

/// Files, directories and their attributes.
#[rustfmt::skip]
const FILES: &[&str] = &[
    "access", "cachestat", "chdir", "chmod", "chown", "close", "close_range",
    "copy_file_range", "creat", "dup", "dup2", "dup3", "faccessat", "faccessat2", "fadvise64",
    "fallocate", "fchdir", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchownat", "fcntl",
    "fdatasync", "fgetxattr", "flistxattr", "flock", "fremovexattr", "fsetxattr", "fstat",
    "fstatfs", "fsync", "ftruncate", "futimesat", "getcwd", "getdents", "getdents64",
    "getxattr", "getxattrat", "ioctl", "lchown", "lgetxattr", "link", "linkat", "listxattr",
    "listxattrat", "llistxattr", "lremovexattr", "lseek", "lsetxattr", "lstat", "mkdir",
    "mkdirat", "mknod", "mknodat", "name_to_handle_at", "newfstatat", "open", "openat",
    "openat2", "pipe", "pipe2", "pread64", "preadv", "preadv2", "pwrite64", "pwritev",
    "pwritev2", "read", "readahead", "readlink", "readlinkat", "readv", "removexattr",
    "removexattrat", "rename", "renameat", "renameat2", "rmdir", "sendfile", "setxattr",
    "setxattrat", "splice", "stat", "statfs", "statx", "symlink", "symlinkat", "sync",
    "sync_file_range", "syncfs", "tee", "truncate", "umask", "unlink", "unlinkat", "utime",
    "utimensat", "utimes", "vmsplice", "write", "writev",
];

/// Waiting for events and asynchronous input and output.
#[rustfmt::skip]
const EVENTS: &[&str] = &[
    "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_pwait",
    "epoll_pwait2", "epoll_wait", "epoll_wait_old", "eventfd", "eventfd2", "fanotify_mark",
    "inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch", "io_cancel",
    "io_destroy", "io_getevents", "io_pgetevents", "io_setup", "io_submit", "poll", "ppoll",
    "pselect6", "select", "signalfd", "signalfd4", "timerfd_create", "timerfd_gettime",
    "timerfd_settime",
];

#[rustfmt::skip]
const MEMORY: &[&str] = &[
    "brk", "madvise", "map_shadow_stack", "memfd_create", "memfd_secret", "mincore", "mlock",
    "mlock2", "mlockall", "mmap", "mprotect", "mremap", "mseal", "msync", "munlock",
    "munlockall", "munmap", "pkey_alloc", "pkey_free", "pkey_mprotect", "process_madvise",
    "process_mrelease", "process_vm_readv", "process_vm_writev", "remap_file_pages",
];

/// Processes, threads, signals and their scheduling.
#[rustfmt::skip]
const PROCESSES: &[&str] = &[
    "alarm", "arch_prctl", "capget", "capset", "execve", "execveat", "exit", "exit_group",
    "fork", "futex", "futex_requeue", "futex_wait", "futex_waitv", "futex_wake",
    "get_robust_list", "get_thread_area", "getcpu", "getegid", "geteuid", "getgid",
    "getgroups", "getitimer", "getpgid", "getpgrp", "getpid", "getppid", "getpriority",
    "getresgid", "getresuid", "getrlimit", "getrusage", "getsid", "gettid", "getuid",
    "ioprio_get", "ioprio_set", "kill", "landlock_add_rule", "landlock_create_ruleset",
    "landlock_restrict_self", "membarrier", "modify_ldt", "pause", "pidfd_getfd", "pidfd_open",
    "pidfd_send_signal", "prctl", "prlimit64", "ptrace", "restart_syscall", "rseq",
    "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn",
    "rt_sigsuspend", "rt_sigtimedwait", "rt_tgsigqueueinfo", "sched_get_priority_max",
    "sched_get_priority_min", "sched_getaffinity", "sched_getattr", "sched_getparam",
    "sched_getscheduler", "sched_rr_get_interval", "sched_setaffinity", "sched_setattr",
    "sched_setparam", "sched_setscheduler", "sched_yield", "seccomp", "set_robust_list",
    "set_thread_area", "set_tid_address", "setfsgid", "setfsuid", "setgid", "setgroups",
    "setitimer", "setpgid", "setpriority", "setregid", "setresgid", "setresuid", "setreuid",
    "setrlimit", "setsid", "setuid", "sigaltstack", "tgkill", "tkill", "vfork", "wait4",
    "waitid",
];

/// Sockets and System V and POSIX message passing.
#[rustfmt::skip]
const COMMUNICATION: &[&str] = &[
    "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt",
    "listen", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend",
    "mq_unlink", "msgctl", "msgget", "msgrcv", "msgsnd", "recvfrom", "recvmmsg", "recvmsg",
    "semctl", "semget", "semop", "semtimedop", "sendmmsg", "sendmsg", "sendto", "setsockopt",
    "shmat", "shmctl", "shmdt", "shmget", "shutdown", "socketpair",
];

/// Reading the clock and the system's properties.
#[rustfmt::skip]
const SYSTEM: &[&str] = &[
    "adjtimex", "clock_adjtime", "clock_getres", "clock_gettime", "clock_nanosleep",
    "getrandom", "gettimeofday", "listmount", "nanosleep", "statmount", "sysinfo", "time",
    "timer_create", "timer_delete", "timer_getoverrun", "timer_gettime", "timer_settime",
    "times", "uname",
];

/// What a capability adds: without it these calls fail in the kernel anyway,
/// but have been a way into it more than once.
#[rustfmt::skip]
const BY_CAPABILITY: &[(Capability, &[&str])] = &[
    (Capability::DacReadSearch, &["open_by_handle_at"]),
    (Capability::SysAdmin, &[
        "bpf", "clone", "clone3", "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick",
        "lookup_dcookie", "lsm_get_self_attr", "lsm_list_modules", "lsm_set_self_attr",
        "mount", "mount_setattr", "move_mount", "open_tree", "perf_event_open", "quotactl",
        "quotactl_fd", "setdomainname", "sethostname", "setns", "syslog", "umount2", "unshare",
    ]),
    (Capability::SysBoot, &["reboot"]),
    (Capability::SysChroot, &["chroot"]),
    (Capability::SysModule, &["delete_module", "finit_module", "init_module"]),
    (Capability::SysPacct, &["acct"]),
    (Capability::SysPtrace, &["kcmp"]),
    (Capability::SysRawio, &["ioperm", "iopl"]),
    (Capability::SysTime, &["clock_settime", "settimeofday"]),
    (Capability::SysTtyConfig, &["vhangup"]),
    (Capability::SysNice, &[
        "get_mempolicy", "mbind", "move_pages", "set_mempolicy", "set_mempolicy_home_node",
    ]),
    (Capability::Syslog, &["syslog"]),
    (Capability::Bpf, &["bpf"]),
    (Capability::Perfmon, &["perf_event_open"]),
];

/// All `CLONE_NEW*` flags that `clone` takes (linux/sched.h): a user namespace
/// of its own would give a workload capabilities over kernel code that is
/// otherwise out of its reach.
const NEW_NAMESPACES: u64 = 0x7e02_0000;

/// The execution domains that change nothing of substance (linux/personality.h):
/// Linux, 32-bit Linux, both with uname 2.6, and the question which it is.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The socket families that are open, as ranges (linux/socket.h): all but
/// `AF_ALG` (38), which reaches the kernel's cryptography, and `AF_VSOCK` (40),
/// which reaches the hypervisor past the network namespace. Ranges of 64 bits,
/// so that bits the kernel would ignore do not slip past the comparison.
const OPEN_FAMILIES: [(u64, u64); 3] = [(0, 37), (39, 39), (41, 45)];

/// The capabilities docker gives a container unless told otherwise.
#[must_use]
pub fn default_capabilities() -> Capabilities {
    use Capability as C;
    HashSet::from([
        C::AuditWrite,
        C::Chown,
        C::DacOverride,
        C::Fowner,
        C::Fsetid,
        C::Kill,
        C::Mknod,
        C::NetBindService,
        C::NetRaw,
        C::Setfcap,
        C::Setgid,
        C::Setpcap,
        C::Setuid,
        C::SysChroot,
    ])
}

/// The default profile for a container with [`default_capabilities`].
#[must_use]
pub fn default_profile() -> LinuxSeccomp {
    profile_for(&default_capabilities())
}

/// The default profile for a container with these capabilities: some add
/// system calls that are useless without them.
#[must_use]
pub fn profile_for(capabilities: &Capabilities) -> LinuxSeccomp {
    let mut names: Vec<&str> =
        [FILES, EVENTS, MEMORY, PROCESSES, COMMUNICATION, SYSTEM].concat();
    for (capability, added) in BY_CAPABILITY {
        if capabilities.contains(capability) {
            names.extend(*added);
        }
    }
    names.sort_unstable();
    names.dedup();

    let mut rules = vec![rule(&names, Action::ScmpActAllow, None, vec![])];
    if !capabilities.contains(&Capability::SysAdmin) {
        let harmless = arg(0, Operator::ScmpCmpMaskedEq, NEW_NAMESPACES, Some(0));
        rules.push(rule(&["clone"], Action::ScmpActAllow, None, vec![harmless]));
        // Its flags are behind a pointer, where no filter can see them: told
        // that it does not exist, the C library falls back to clone.
        let errno = Some(libc::ENOSYS.cast_unsigned());
        rules.push(rule(&["clone3"], Action::ScmpActErrno, errno, vec![]));
    }
    for value in PERSONALITIES {
        let same = arg(0, Operator::ScmpCmpEq, value, None);
        rules.push(rule(&["personality"], Action::ScmpActAllow, None, vec![same]));
    }
    for (first, last) in OPEN_FAMILIES {
        let open = vec![
            arg(0, Operator::ScmpCmpGe, first, None),
            arg(0, Operator::ScmpCmpLe, last, None),
        ];
        rules.push(rule(&["socket"], Action::ScmpActAllow, None, open));
    }

    let mut profile = LinuxSeccomp::default();
    profile
        .set_default_action(Action::ScmpActErrno)
        .set_default_errno_ret(Some(libc::EPERM.cast_unsigned()))
        .set_architectures(Some(vec![Arch::ScmpArchX86_64]))
        .set_syscalls(Some(rules));
    profile
}

fn rule(
    names: &[&str],
    action: Action,
    errno: Option<u32>,
    args: Vec<LinuxSeccompArg>,
) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names.iter().map(|name| (*name).to_owned()).collect())
        .set_action(action)
        .set_errno_ret(errno)
        .set_args(Some(args).filter(|args| !args.is_empty()));
    rule
}

fn arg(index: usize, op: Operator, value: u64, value_two: Option<u64>) -> LinuxSeccompArg {
    let builder = LinuxSeccompArgBuilder::default().index(index).op(op).value(value);
    let builder = match value_two {
        Some(value) => builder.value_two(value),
        None => builder,
    };
    // Only a missing field could fail it, and all have defaults.
    builder.build().unwrap_or_default()
}
