//! Making a process: what happens between a [`Start`] and its exec.
//!
//! The child shares this process's memory until it has exec'ed
//! (`CLONE_VM | CLONE_VFORK`): copying page tables is what makes fork dear, and
//! the child can leave its failure where the parent finds it. It therefore
//! allocates nothing and touches nothing but its [`Plan`].

use alloc::vec::Vec;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::ptr;

use super::credentials;
use super::init;
use super::lookup;
use super::sandbox;
use super::sys::{self, Clone, Errno, Fd};
use super::terminal::{self, Ends};
use crate::protocol::{CStrings, Failure, Start, Step};

/// Room for the child's frames; pages that are not touched cost nothing.
pub(super) const STACK_SIZE: usize = 64 * 1024;

/// The workload's ends of its pipes.
#[derive(Debug)]
pub struct Streams {
    /// What it reads; `/dev/null` when absent.
    pub stdin: Option<Fd>,
    /// Where its output goes.
    pub stdout: Fd,
    /// Where its diagnostics go.
    pub stderr: Fd,
}

/// Everything the child needs, ready before it exists.
pub(super) struct Plan<'a> {
    pub start: &'a Start,
    /// The ends of pipes; without, the process has a terminal.
    pub streams: Option<&'a Streams>,
    argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    /// Whether the parent is the minimal init, which has built the sandbox and
    /// blocks signals.
    pub below_init: bool,
    /// The terminal, once it is made.
    pub terminal: Option<Ends>,
    /// What went wrong; written by the child.
    failure: Option<Failure>,
}

/// Turns an error number into the failure of `step`.
pub(super) fn failed(step: Step) -> impl FnOnce(Errno) -> Failure {
    move |errno| Failure::Setup { step, errno: errno.0 }
}

impl<'a> Plan<'a> {
    fn new(start: &'a Start, streams: Option<&'a Streams>) -> Self {
        let pointers =
            |list: &CStrings| list.iter().map(CStr::as_ptr).chain([ptr::null()]).collect();
        Self {
            argv: pointers(&start.process.args),
            envp: pointers(&start.process.env),
            start,
            streams,
            below_init: false,
            terminal: None,
            failure: None,
        }
    }

    /// What a child that makes the terminal shares with this process.
    pub(super) fn shared(&self) -> c_int {
        let makes_it = self.streams.is_none() && self.terminal.is_none();
        if makes_it { libc::CLONE_FILES } else { 0 }
    }

    /// Makes the terminal, if there is to be one and is none, and shares nothing from
    /// then on.
    pub(super) fn make_terminal(&mut self) -> Result<(), Failure> {
        let Some(size) = self.start.process.terminal.filter(|_| self.shared() != 0) else {
            return Ok(());
        };
        self.terminal = Some(terminal::make(size, self.start.sandbox.is_some())?);
        sys::unshare(libc::CLONE_FILES).map_err(failed(Step::Terminal))
    }
}

/// A process that was started.
#[derive(Debug)]
pub struct Spawned {
    pub child: Clone,
    /// Our end of its terminal, if it has one.
    pub terminal: Option<Fd>,
}

/// Starts what `start` asks for and returns once it has been exec'ed.
///
/// # Errors
///
/// What the child ran into; it is gone then.
pub fn spawn(start: &Start, streams: Option<&Streams>) -> Result<Spawned, Failure> {
    let mut plan = Plan::new(start, streams);
    let own_init = start.sandbox.as_ref().is_some_and(|sandbox| sandbox.init);
    let child = if own_init || start.wants_changes() {
        init::spawn(&mut plan)
    } else {
        vfork_exec(&mut plan)
    };
    let terminal = plan.terminal.map(|Ends { master, slave }| {
        // SAFETY: the child has made both in the table of descriptors it shared with us,
        // for us to have.
        let (master, slave) = unsafe { (Fd::from_raw(master), Fd::from_raw(slave)) };
        drop(slave);
        master
    });
    child.map(|child| Spawned { child, terminal })
}

/// Runs `plan` in a child that borrows this process's memory until its exec.
pub(super) fn vfork_exec(plan: &mut Plan<'_>) -> Result<Clone, Failure> {
    let mut stack = Stack::new();
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | plan.shared();
    let plan: *mut Plan<'_> = plan;
    // SAFETY: the parent sleeps until the child has exec'ed or ended, so stack
    // and plan are the child's alone for that time; both outlive it.
    let child = unsafe { sys::clone_onto(flags, stack.top(), child, plan.cast()) };
    let child = child.map_err(failed(Step::Clone))?;
    // SAFETY: the child no longer uses the plan.
    match unsafe { (*plan).failure.take() } {
        None => Ok(child),
        Some(failure) => {
            let _ = sys::wait(child.pid, 0);
            Err(failure)
        }
    }
}

extern "C" fn child(plan: *mut c_void) -> ! {
    // SAFETY: `vfork_exec` passes its plan and sleeps meanwhile.
    let plan = unsafe { &mut *plan.cast::<Plan<'_>>() };
    plan.failure = Some(match prepare(plan) {
        // Returns only when it failed.
        Ok(()) => lookup::exec(&plan.start.process, &plan.argv, &plan.envp),
        Err(failure) => failure,
    });
    sys::exit(1);
}

fn prepare(plan: &mut Plan<'_>) -> Result<(), Failure> {
    let process = &plan.start.process;
    if plan.below_init {
        sys::set_mask(0).map_err(failed(Step::Session))?;
    } else if let Some(sandbox) = &plan.start.sandbox {
        sandbox::build(sandbox, process)?;
    }
    plan.make_terminal()?;
    sys::set_session().map_err(failed(Step::Session))?;
    if let Some(ends) = plan.terminal {
        terminal::attach(ends).map_err(failed(Step::Terminal))?;
    } else if let Some(streams) = plan.streams {
        attach(streams, plan.start.wants_changes()).map_err(failed(Step::Streams))?;
    }
    credentials::apply(process)
}

fn attach(streams: &Streams, wants_changes: bool) -> sys::Result<()> {
    // Where its changes are wanted, the stream for output is theirs.
    let stdout = if wants_changes { &streams.stderr } else { &streams.stdout };
    match &streams.stdin {
        Some(stdin) => sys::dup_onto(stdin.raw(), 0)?,
        None => sys::dup_onto(nothing()?.raw(), 0)?,
    }
    sys::dup_onto(stdout.raw(), 1)?;
    sys::dup_onto(streams.stderr.raw(), 2)
}

/// Something that reads as empty: `/dev/null`, or a pipe nobody writes to in an
/// image that has none.
fn nothing() -> sys::Result<Fd> {
    match sys::open(c"/dev/null", libc::O_RDWR) {
        Err(Errno::NOENT) => sys::pipe().map(|(read, _)| read),
        other => other,
    }
}

/// Memory for a child's stack.
pub(super) struct Stack(Vec<u8>);

impl Stack {
    pub fn new() -> Self {
        Self(Vec::with_capacity(STACK_SIZE))
    }

    /// Its 16-byte aligned upper end.
    pub fn top(&mut self) -> *mut u8 {
        let end = self.0.as_mut_ptr().wrapping_add(STACK_SIZE);
        end.wrapping_sub(end.addr() % 16)
    }
}
