//! The tiny init: PID 1 that forwards signals and reaps orphans.
//!
//! It is a copy of our process that never execs, so it shares its pages with
//! the runtime. It runs with the workload's own user, capabilities and filter:
//! nothing is gained by taking it over.

use std::os::fd::RawFd;

use crate::sys::{self, Errno};

/// Every signal (`sigset_t` as the kernel has it).
const ALL: u64 = u64::MAX;

/// Forks; returns in the child, which goes on to exec the workload, and stays
/// in the parent until the workload has ended.
pub(super) fn fork_and_stay(sync: RawFd, terminal: bool) {
    // Before the fork, so that no signal meant for the workload is lost.
    let _ = sys::block_signals(ALL);
    // SAFETY: the child goes on making raw system calls only.
    match unsafe { sys::fork() } {
        Ok(0) => {
            let _ = sys::block_signals(0);
            // A session of its own, as a workload that is PID 1 itself has.
            let _ = super::process::start_session(terminal);
        }
        Ok(child) => {
            // The conversation ends with the workload's exec, its streams with the
            // workload, and whatever else the parent had open is not ours.
            let _ = sys::close_from(0);
            watch(i32::try_from(child).unwrap_or(-1));
        }
        Err(Errno(errno)) => super::fail(sync, &crate::message::Message::ExecFailed { errno }),
    }
}

fn watch(workload: i32) -> ! {
    loop {
        let Ok(signal) = sys::sigwait(ALL) else { continue };
        if signal != libc::SIGCHLD {
            let _ = sys::kill(workload, signal);
            continue;
        }
        while let Ok(Some((pid, status))) = sys::reap() {
            if pid == workload {
                sys::exit(code(status));
            }
        }
    }
}

/// The exit code a shell would give.
fn code(status: i32) -> i32 {
    if libc::WIFSIGNALED(status) {
        128 + libc::WTERMSIG(status)
    } else {
        libc::WEXITSTATUS(status)
    }
}
