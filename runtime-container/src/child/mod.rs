//! The child half: from `clone3` to `execve`, or to being killed.
//!
//! Everything here runs in a copy of a process that may have had other
//! threads. It makes raw system calls on data the parent prepared and nothing
//! else: no allocation, no lock, no formatting. It never returns to the
//! parent's code.

mod init;
pub(crate) mod keeper;
mod mounts;
mod parked;
mod process;

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_char};
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

/// Standard input, output and error.
const STREAMS: [RawFd; 3] = [0, 1, 2];

/// What the child is given: prepared by the parent, borrowed for its life.
#[derive(Debug)]
pub(crate) struct Script<'a> {
    /// Up to the point where the parent is told that all is ready.
    pub setup: &'a [Step<'static>],
    /// What comes then.
    pub then: Then<'a>,
    /// The child's end of the conversation with the parent.
    pub sync: RawFd,
    /// The parent's end: closed, so that its death shows.
    pub parents_end: RawFd,
    /// What becomes descriptors 0, 1 and 2; all above 2.
    pub stdio: [RawFd; 3],
}

/// What a child does once it is set up.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Then<'a> {
    /// Wait for the order to start and become the workload.
    Launch(Launch<'a>),
    /// Wait for whoever says what else there is to do.
    Wait,
}

/// The last steps to a workload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Launch<'a> {
    /// From the start order to `execve`.
    pub steps: &'a [Step<'static>],
    /// The command.
    pub command: &'a Command,
    /// Be PID 1 beside the workload, which is its child.
    pub init: bool,
    /// The workload has a terminal.
    pub terminal: bool,
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
    strings: Vec<CString>,
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
        Self { pointers, strings }
    }

    pub(crate) fn strings(&self) -> &[CString] {
        &self.strings
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
    empty_directory: Option<&'a CStr>,
    rootfs_ready: Option<Instant>,
}

impl Progress<'_> {
    fn new(sync: RawFd) -> Self {
        Self { sync, slots: [-1; MAX_SLOTS], empty_directory: None, rootfs_ready: None }
    }
}

/// Runs the script and becomes the workload, or reports why not and exits.
pub(crate) fn run(script: &Script<'_>) -> ! {
    let _guard = NoReturn;
    let sync = script.sync;
    let mut progress = Progress::new(sync);
    sys::close(script.parents_end);
    process::reset_signals();
    sys::umask(0);
    for (index, step) in script.setup.iter().enumerate() {
        if let Err(errno) = perform(step, &mut progress) {
            fail(sync, &Message::SetupFailed { step: index, errno: errno.0 });
        }
    }
    match script.then {
        Then::Wait => parked::wait(script),
        Then::Launch(Launch { steps, command, init, terminal }) => {
            let given = await_start(sync, progress.rootfs_ready);
            let stdio = given.unwrap_or(script.stdio);
            let steps = steps.iter().map(|step| Ok(Cow::Borrowed(step)));
            launch(sync, stdio, steps, init.then_some(terminal));
            let candidates = command.candidates.iter().map(CString::as_c_str);
            let (argv, envp) = (command.argv.as_ptr(), command.envp.as_ptr());
            // SAFETY: both are null-terminated arrays of terminated strings.
            let errno = unsafe { process::execute(candidates, argv, envp) };
            fail(sync, &Message::ExecFailed { errno: errno.0 })
        }
    }
}

/// Says that all steps so far are taken.
fn say_ready(sync: RawFd, rootfs_ready: Option<Instant>) {
    let rootfs = rootfs_ready.unwrap_or(Instant::from_nanos(0));
    let ready = Message::Ready { rootfs, created: Instant::now() };
    if ready.send(sync).is_err() {
        sys::exit(SETUP_FAILED);
    }
}

/// Says that all is ready and waits for the order to start; the streams that came with
/// it.
fn await_start(sync: RawFd, rootfs_ready: Option<Instant>) -> Option<[RawFd; 3]> {
    say_ready(sync, rootfs_ready);
    match Order::receive(sync) {
        Ok((Order::Start, terminal)) => terminal.map(|fd| [fd; 3]),
        // The creator is gone or has changed its mind.
        _ => sys::exit(SETUP_FAILED),
    }
}

/// Takes the last steps; what remains is to execute the command. With `init`, that is
/// left to a child, which has a terminal or not.
fn launch<'s, 'd: 's>(
    sync: RawFd,
    stdio: [RawFd; 3],
    steps: impl Iterator<Item = Result<Cow<'s, Step<'d>>, Errno>>,
    init: Option<bool>,
) {
    if let Err(errno) = process::adopt_stdio(stdio) {
        fail(sync, &Message::ExecFailed { errno: errno.0 });
    }
    if let Err((step, errno)) = take(sync, steps) {
        fail(sync, &Message::LaunchFailed { step, errno: errno.0 });
    }
    if let Some(terminal) = init {
        init::fork_and_stay(sync, terminal);
    }
}

/// Takes steps of which none needs what another left behind, and tells when the root
/// filesystem was entered, if that is one of them; or which step failed, and how.
fn take<'s, 'd: 's>(
    sync: RawFd,
    steps: impl Iterator<Item = Result<Cow<'s, Step<'d>>, Errno>>,
) -> Result<Option<Instant>, (usize, Errno)> {
    let mut rootfs_ready = None;
    for (index, step) in steps.enumerate() {
        let taken = step.and_then(|step| {
            let mut progress = Progress::new(sync);
            perform(&step, &mut progress)?;
            Ok(progress.rootfs_ready)
        });
        rootfs_ready = taken.map_err(|errno| (index, errno))?.or(rootfs_ready);
    }
    Ok(rootfs_ready)
}

fn fail(sync: RawFd, message: &Message) -> ! {
    let _ = message.send(sync);
    sys::exit(SETUP_FAILED)
}

fn perform<'a>(step: &'a Step<'_>, progress: &mut Progress<'a>) -> Result<(), Errno> {
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
        Step::Terminal { uid, is_console } => mounts::own_terminal(*uid, *is_console),
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
