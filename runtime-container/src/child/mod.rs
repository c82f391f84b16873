//! The child half: from `clone3` to `execve`, or to being killed.
//!
//! Everything here runs in a copy of a process that may have had other
//! threads. It makes raw system calls on data the parent prepared and nothing
//! else: no allocation, no lock, no formatting. It never returns to the
//! parent's code.

mod init;
mod mounts;
mod process;

use std::ffi::{CString, c_char};
use std::os::fd::RawFd;

use bulkhead_runtime::Instant;

use crate::message::{Message, Order};
use crate::step::Step;
use crate::sys::{self, Errno};

/// Host mounts that can be carried into the container's tree.
pub(crate) const MAX_SLOTS: usize = 64;

/// Exit code of a child that could not become the workload; the parent learns
/// the reason from the message before it.
const SETUP_FAILED: i32 = 125;

/// What the child is given: prepared by the parent, borrowed for its life.
#[derive(Debug)]
pub(crate) struct Script<'a> {
    /// Up to the point where the parent is told that all is ready.
    pub setup: &'a [Step],
    /// From the start order to `execve`.
    pub launch: &'a [Step],
    /// The command.
    pub command: &'a Command,
    /// The child's end of the conversation with the parent.
    pub sync: RawFd,
    /// The parent's end: closed, so that its death shows.
    pub parents_end: RawFd,
    /// What becomes descriptors 0, 1 and 2; all above 2.
    pub stdio: [RawFd; 3],
    /// What to be once set up.
    pub duty: Duty<'a>,
}

/// What a child is once it is set up.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Duty<'a> {
    /// The workload.
    Workload,
    /// PID 1 beside the workload, which is its child.
    Init,
    /// Whoever holds the namespaces until it is killed, and these descriptors: in
    /// ascending order, above the standard streams.
    Keeper(&'a [RawFd]),
}

impl Duty<'_> {
    /// The duty of a container's first process, with our init as it or without.
    pub(crate) fn first(init: bool) -> Self {
        if init { Self::Init } else { Self::Workload }
    }
}

/// What is executed, ready for the kernel.
#[derive(Debug)]
pub(crate) struct Command {
    /// Paths to try in order, as `execvp(3)` does.
    pub candidates: Vec<CString>,
    pub argv: StringArray,
    pub envp: StringArray,
}

/// A null-terminated array of strings.
#[derive(Debug)]
pub(crate) struct StringArray {
    pointers: Vec<*const c_char>,
    _strings: Vec<CString>,
}

// SAFETY: the pointers point into the heap buffers of the strings beside them,
// which never change after construction.
unsafe impl Send for StringArray {}

impl StringArray {
    pub(crate) fn new(strings: Vec<CString>) -> Self {
        let pointers = strings
            .iter()
            .map(|string| string.as_ptr())
            .chain(std::iter::once(std::ptr::null()))
            .collect();
        Self { pointers, _strings: strings }
    }

    fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

/// Ends the process instead of letting a panic unwind into the parent's code.
struct NoReturn;

impl Drop for NoReturn {
    fn drop(&mut self) {
        sys::exit(SETUP_FAILED);
    }
}

/// What the steps leave behind for later steps.
struct Progress<'a> {
    sync: RawFd,
    slots: [RawFd; MAX_SLOTS],
    /// Hides directories; the first that was hidden, none before.
    empty_directory: Option<&'a CString>,
    rootfs_ready: Option<Instant>,
}

/// Runs the script and becomes the workload, or reports why not and exits.
pub(crate) fn run(script: &Script<'_>) -> ! {
    let _guard = NoReturn;
    let sync = script.sync;
    let mut progress =
        Progress { sync, slots: [-1; MAX_SLOTS], empty_directory: None, rootfs_ready: None };
    sys::close(script.parents_end);
    process::reset_signals();
    sys::umask(0);
    for (index, step) in script.setup.iter().enumerate() {
        if let Err(errno) = perform(step, &mut progress) {
            fail(sync, &Message::SetupFailed { step: index, errno: errno.0 });
        }
    }
    let ready = Message::Ready {
        rootfs: progress.rootfs_ready.unwrap_or(Instant::from_nanos(0)),
        created: Instant::now(),
    };
    if ready.send(sync).is_err() {
        sys::exit(SETUP_FAILED);
    }
    if let Duty::Keeper(kept) = script.duty {
        process::keep(script.stdio, kept);
    }
    if Order::receive(sync) != Ok(Order::Start) {
        // The creator is gone or has changed its mind.
        sys::exit(SETUP_FAILED);
    }
    if let Err(errno) = process::adopt_stdio(script.stdio) {
        fail(sync, &Message::ExecFailed { errno: errno.0 });
    }
    for (index, step) in script.launch.iter().enumerate() {
        if let Err(errno) = perform(step, &mut progress) {
            fail(sync, &Message::LaunchFailed { step: index, errno: errno.0 });
        }
    }
    if matches!(script.duty, Duty::Init) {
        init::fork_and_stay(sync);
    }
    let errno = process::execute(script.command);
    fail(sync, &Message::ExecFailed { errno: errno.0 })
}

fn fail(sync: RawFd, message: &Message) -> ! {
    let _ = message.send(sync);
    sys::exit(SETUP_FAILED)
}

fn perform<'a>(step: &'a Step, progress: &mut Progress<'a>) -> Result<(), Errno> {
    match step {
        Step::AwaitMappings => process::await_mappings(progress.sync),
        Step::JoinCgroup(fd) => sys::write(*fd, b"0").map(drop),
        Step::Unshare(flags) => sys::unshare(*flags),
        Step::Enter { fd, kind } => sys::setns(*fd, *kind),
        Step::WriteFile { path, data } => process::write_file(path, data),
        Step::Hostname(name) => sys::sethostname(name),
        Step::Domainname(name) => sys::setdomainname(name),
        Step::LoopbackUp => process::loopback_up(),
        Step::Limit { resource, soft, hard, .. } => {
            let limit = libc::rlimit { rlim_cur: *soft, rlim_max: *hard };
            sys::setrlimit(*resource, &limit)
        }
        Step::Session { terminal } => process::start_session(*terminal),
        Step::DieWithParent => process::die_with_parent(),
        Step::Bounding(keep) => process::limit_bounding(*keep),
        Step::Become { uid, gid, groups } => process::become_user(*uid, *gid, groups),
        Step::Capabilities(sets) => process::set_capabilities(sets),
        Step::NoNewPrivileges => sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map(drop),
        Step::Seccomp { flags, program } => sys::seccomp(*flags, program),
        Step::NotDumpable => sys::prctl(libc::PR_SET_DUMPABLE, 0, 0).map(drop),
        Step::Umask(mask) => {
            sys::umask(*mask);
            Ok(())
        }
        Step::Chdir(path) => process::enter(path),
        Step::StampRootfs => {
            progress.rootfs_ready = Some(Instant::now());
            Ok(())
        }
        _ => mounts::perform(step, progress),
    }
}
