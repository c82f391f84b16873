//! Starts the child as `posix_spawn` does, and ties its life to ours.
//!
//! The child shares our memory until it has exec'ed and we are stopped
//! meanwhile (`CLONE_VM | CLONE_VFORK`), so nothing of our page tables is
//! copied: the baseline must not pay for the size of the harness. The C
//! library's own `posix_spawn` cannot set the parent-death signal, without
//! which a killed harness would leave workloads behind.

use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};

use bulkhead_runtime::{Instant, Stdio};

use crate::peers::rootfs::Mounts;

/// Stack of the child between clone and exec; it makes a handful of calls.
const STACK_BYTES: usize = 64 << 10;

/// Highest signal (`_NSIG`, asm/signal.h on x86-64).
const SIGNALS: c_int = 64;

/// `struct sigaction` of the kernel with `SIG_DFL`, no flags and an empty mask
/// (asm/signal.h): four words.
const DEFAULT_ACTION: [u64; 4] = [0; 4];

/// Size of the kernel's signal set, which it wants to be told.
const SIGNAL_SET_BYTES: usize = 8;

/// Everything the child needs, made ready before it exists.
#[derive(Debug)]
pub struct Plan {
    path: CString,
    arguments: Strings,
    environment: Strings,
    directory: CString,
    /// Copies above the standard descriptors, so that none is overwritten
    /// before it has been put in its place.
    streams: [OwnedFd; 3],
    /// Makes the child the leader of a session, so that a signal from the terminal
    /// does not reach it and everything it starts can be killed at once.
    own_session: bool,
    /// What the child mounts for itself first.
    mounts: Option<Mounts>,
}

/// The child as its parent holds it.
#[derive(Debug)]
pub struct Child {
    pub pid: i32,
    pub pidfd: OwnedFd,
    /// When it had made its mounts, if there were any.
    pub mounted: Option<Instant>,
}

/// Why there is no child.
#[derive(Debug)]
pub enum SpawnError {
    /// It could not be created or set up.
    SetUp(io::Error),
    /// Its program could not be executed.
    Exec(io::Error),
}

impl Plan {
    /// Prepares `path` to be executed with `arguments`, the program's name first,
    /// in `directory`.
    pub fn new(
        path: &Path,
        arguments: &[String],
        environment: &[String],
        directory: &Path,
        stdio: &Stdio,
    ) -> io::Result<Self> {
        Ok(Self {
            path: CString::new(path.as_os_str().as_bytes())?,
            arguments: Strings::new(arguments)?,
            environment: Strings::new(environment)?,
            directory: CString::new(directory.as_os_str().as_bytes())?,
            // `try_clone` never returns a descriptor below 3.
            streams: [
                stdio.stdin.try_clone()?,
                stdio.stdout.try_clone()?,
                stdio.stderr.try_clone()?,
            ],
            own_session: false,
            mounts: None,
        })
    }

    /// Makes the child the leader of a session of its own.
    pub fn in_own_session(mut self) -> Self {
        self.own_session = true;
        self
    }

    /// Lets the child make `mounts`, in a mount namespace of its own.
    pub fn with_mounts(mut self, mounts: Mounts) -> Self {
        self.mounts = Some(mounts);
        self
    }

    /// Starts the child and returns once it has exec'ed.
    pub fn spawn(&self) -> Result<Child, SpawnError> {
        let mut stack = vec![MaybeUninit::<u8>::uninit(); STACK_BYTES];
        let top = stack.as_mut_ptr_range().end;
        // SAFETY: no arguments.
        let parent = unsafe { libc::getpid() };
        let orders = Orders {
            plan: self,
            parent,
            reached_exec: AtomicBool::new(false),
            mounted: AtomicU64::new(0),
            error: AtomicI32::new(0),
        };
        let mut pidfd: c_int = -1;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
        let signals = BlockedSignals::all();
        // SAFETY: the stack is ours and aligned down to what the ABI asks for; it and
        // the orders outlive the child's use of them, because the parent is stopped
        // until the child execs or exits; the child function is async-signal-safe.
        let pid = unsafe {
            libc::clone(
                child,
                top.map_addr(|address| address & !15).cast(),
                flags,
                ptr::from_ref(&orders).cast_mut().cast(),
                &raw mut pidfd,
            )
        };
        let cloned = if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(pid) };
        drop(signals);
        let pid = cloned.map_err(SpawnError::SetUp)?;
        // SAFETY: the kernel stored a new descriptor there, owned by nobody else.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        match orders.error.load(Ordering::Relaxed) {
            0 => {
                let mounted = match orders.mounted.load(Ordering::Relaxed) {
                    0 => None,
                    nanoseconds => Some(Instant::from_nanos(nanoseconds)),
                };
                Ok(Child { pid, pidfd, mounted })
            }
            errno => {
                // It has exited already; only its entry is left to be collected.
                // SAFETY: waits for a child of ours, discarding its status.
                unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
                let error = io::Error::from_raw_os_error(errno);
                Err(if orders.reached_exec.load(Ordering::Relaxed) {
                    SpawnError::Exec(error)
                } else {
                    SpawnError::SetUp(error)
                })
            }
        }
    }
}

/// What the child is told and how it answers.
struct Orders<'a> {
    plan: &'a Plan,
    parent: i32,
    /// Everything before the exec went well.
    reached_exec: AtomicBool,
    /// When its mounts were made; 0 before, and where there are none.
    mounted: AtomicU64,
    /// The error number of what failed in the child; 0 when it has exec'ed.
    error: AtomicI32,
}

extern "C" fn child(orders: *mut c_void) -> c_int {
    // SAFETY: `spawn` passes its orders, which live until this process execs.
    let orders = unsafe { &*orders.cast::<Orders<'_>>() };
    // SAFETY: this is the child of `spawn`, with every signal blocked.
    unsafe { become_workload(orders) };
    // SAFETY: the C library's errno is shared with the stopped parent's thread.
    let errno = unsafe { *libc::__errno_location() };
    orders.error.store(errno, Ordering::Relaxed);
    127
}

/// Returns only when something failed, which errno tells.
///
/// # Safety
///
/// Only in the child of [`Plan::spawn`], before anything unblocks signals.
unsafe fn become_workload(orders: &Orders<'_>) {
    let plan = orders.plan;
    // SAFETY: every pointer is into `orders`; all calls are async-signal-safe and
    // change the state of this process only, memory excepted.
    unsafe {
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
            return;
        }
        if libc::getppid() != orders.parent {
            // The parent died before the line above.
            libc::_exit(127);
        }
        // Handlers of the parent would run on the parent's memory; and a signal it
        // ignores (SIGPIPE, in every Rust program) must not be ignored after exec.
        // The system call itself: the C library refuses the two it uses internally.
        for signal in 1..=SIGNALS {
            let none = ptr::null_mut::<c_void>();
            let default = DEFAULT_ACTION.as_ptr();
            libc::syscall(libc::SYS_rt_sigaction, signal, default, none, SIGNAL_SET_BYTES);
        }
        if plan.own_session && libc::setsid() < 0 {
            return;
        }
        if let Some(mounts) = &plan.mounts
            && mounts.make(&orders.mounted).is_none()
        {
            return;
        }
        for (stream, target) in plan.streams.iter().zip(0..) {
            if libc::dup2(stream.as_raw_fd(), target) < 0 {
                return;
            }
        }
        if libc::chdir(plan.directory.as_ptr()) != 0 {
            return;
        }
        let mut none = MaybeUninit::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        if libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut()) != 0 {
            return;
        }
        orders.reached_exec.store(true, Ordering::Relaxed);
        libc::execve(
            plan.path.as_ptr(),
            plan.arguments.pointers.as_ptr(),
            plan.environment.pointers.as_ptr(),
        );
    }
}

/// A list of strings in the form execve(2) takes.
#[derive(Debug)]
struct Strings {
    /// Into `_strings`, with a null at the end.
    pointers: Vec<*const c_char>,
    _strings: Vec<CString>,
}

// SAFETY: the pointers are to strings owned by the same value, never written to.
unsafe impl Send for Strings {}

impl Strings {
    fn new(texts: &[String]) -> io::Result<Self> {
        let strings: Vec<CString> =
            texts.iter().map(|text| CString::new(text.as_str())).collect::<Result<_, _>>()?;
        let pointers =
            strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect();
        Ok(Self { pointers, _strings: strings })
    }
}

/// All signals of this thread, blocked until this is dropped.
struct BlockedSignals(libc::sigset_t);

impl BlockedSignals {
    fn all() -> Self {
        // SAFETY: both sets are plain data, written before they are read; the call
        // cannot fail with a valid first argument.
        unsafe {
            let mut all = MaybeUninit::uninit();
            let mut before = MaybeUninit::zeroed();
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
            Self(before.assume_init())
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: the set is the one the thread had before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut()) };
    }
}
