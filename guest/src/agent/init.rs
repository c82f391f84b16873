//! The minimal init that a sandbox can ask for: PID 1 of the workload's pid
//! namespace, which forwards signals to its one child and reaps orphans.
//!
//! It outlives the exec of its child, so unlike any other child it gets memory
//! of its own.

use core::ffi::{c_int, c_void};

use super::changes;
use super::sandbox;
use super::spawn::{self, Plan, Stack, failed};
use super::sys::{self, Clone, Fd};
use super::terminal::Ends;
use crate::protocol::{Failure, Step};

/// What the init says: the terminal that it has made, and whether its child runs.
type Report = (Option<(c_int, c_int)>, Result<(), Failure>);

/// Longest report in postcard.
const REPORT_MAX: usize = 32;

/// All signals blocked.
const EVERY_SIGNAL: u64 = u64::MAX;

/// Exit code, and message, when what a workload has changed cannot be handed out.
const NOT_PACKED: c_int = 125;
const UNPACKED: &[u8] = b"bulkhead: what was changed in the microVM cannot be read\n";

struct Init<'a, 'b> {
    plan: &'a mut Plan<'b>,
    report: &'a Fd,
}

/// Runs `plan` below a minimal init and returns once it has been exec'ed.
pub fn spawn(plan: &mut Plan<'_>) -> Result<Clone, Failure> {
    let (outcome, report) = sys::pipe().map_err(failed(Step::Streams))?;
    let mut stack = Stack::new();
    let shared = plan.shared();
    let mut argument = Init { plan, report: &report };
    // SAFETY: without CLONE_VM the child works on its own copy of everything.
    let child = unsafe {
        sys::clone_onto(shared, stack.top(), init, (&raw mut argument).cast::<c_void>())
    };
    let child = child.map_err(failed(Step::Clone))?;
    // What is shared is the child's until it says that it is done, or ends.
    let mut news = [&outcome, &child.pidfd].map(|fd| libc::pollfd {
        fd: fd.raw(),
        events: libc::POLLIN,
        revents: 0,
    });
    sys::poll(&mut news, -1).map_err(failed(Step::Clone))?;
    drop(report);
    let mut bytes = [0; REPORT_MAX];
    let len = sys::read_slice(&outcome, &mut bytes).map_err(failed(Step::Clone))?;
    match postcard::from_bytes::<Report>(&bytes[..len]) {
        Ok((terminal, outcome)) => {
            plan.terminal = terminal.map(|(master, slave)| Ends { master, slave });
            if let Err(failure) = outcome {
                let _ = sys::wait(child.pid, 0);
                return Err(failure);
            }
            Ok(child)
        }
        // It was killed before it could report.
        Err(_) => {
            let _ = sys::wait(child.pid, 0);
            Err(Failure::Setup { step: Step::Clone, errno: libc::ESRCH })
        }
    }
}

extern "C" fn init(argument: *mut c_void) -> ! {
    // SAFETY: `spawn` passes an Init, and this is the child's own copy of it.
    let Init { plan, report } = unsafe { &mut *argument.cast::<Init<'_, '_>>() };
    let outcome = start(plan);
    let mut bytes = [0; REPORT_MAX];
    let terminal = plan.terminal.map(|ends| (ends.master, ends.slave));
    let said: Report = (terminal, outcome.as_ref().map(drop).map_err(|failure| *failure));
    if let Ok(text) = postcard::to_slice(&said, &mut bytes) {
        let _ = sys::write(report, text);
    }
    let Ok(child) = outcome else { sys::exit(1) };
    let pid = child.pid;
    child.pidfd.leak();
    if let Some(streams) = plan.streams.filter(|_| plan.start.wants_changes()) {
        // SAFETY: from here on no descriptor is used but those that it puts in place.
        let prepared = unsafe { changes::prepare(&streams.stdout, &streams.stderr) };
        let code = serve(pid);
        sys::exit(
            match prepared.and_then(|()| if code == 0 { changes::pack() } else { Ok(()) }) {
                Ok(()) => code,
                Err(_) => {
                    let _ = sys::write_raw(libc::STDERR_FILENO, UNPACKED);
                    NOT_PACKED
                }
            },
        );
    }
    // SAFETY: from here on no descriptor is used. The workload's pipes must not
    // stay open in here, or their readers would never see their end.
    unsafe { sys::close_range_all() };
    sys::exit(serve(pid));
}

fn start(plan: &mut Plan<'_>) -> Result<Clone, Failure> {
    // Before the child exists, so that its end cannot be missed.
    sys::set_mask(EVERY_SIGNAL).map_err(failed(Step::Session))?;
    if let Some(sandbox) = &plan.start.sandbox {
        sandbox::build(sandbox, &plan.start.process)?;
    }
    plan.make_terminal()?;
    plan.below_init = true;
    spawn::vfork_exec(plan)
}

/// Forwards and reaps until `child` ends; the exit code that tells how, in the
/// way of a shell.
fn serve(child: c_int) -> c_int {
    loop {
        match sys::wait_signal(EVERY_SIGNAL) {
            Ok(libc::SIGCHLD) => {
                while let Ok(Some((pid, status))) = sys::wait(-1, libc::WNOHANG) {
                    if pid == child {
                        return sys::killed_by(status)
                            .map_or(libc::WEXITSTATUS(status), |signal| 128 + signal);
                    }
                }
            }
            Ok(signal) => {
                let _ = sys::kill(child, signal);
            }
            Err(_) => {}
        }
    }
}
