//! What a process has from its parent unless somebody says otherwise.
//!
//! The first process of a container made ahead has these from whoever prepared it. It
//! is given those of whoever takes it, whose child it would be if it were made at once.
//! What cannot be given (a higher limit, without the privilege for that) stays as it is.

use std::fs;
use std::io;
use std::mem::{self, MaybeUninit};

use oci_spec::runtime::Process;

/// Resources with a limit (`RLIM_NLIMITS`, asm-generic/resource.h).
const RESOURCES: u32 = 16;

/// Gives process `pid`, which waits to become `process`, what the caller has.
///
/// # Errors
///
/// When its rank for being killed when memory is short cannot be set.
pub(crate) fn give(pid: i32, process: Option<&Process>) -> io::Result<()> {
    limits(pid);
    processors(pid);
    niceness(pid);
    let asked = process.and_then(Process::oom_score_adj);
    let path = |process: &str| format!("/proc/{process}/oom_score_adj");
    let score = match asked {
        Some(score) => score.to_string(),
        None => fs::read_to_string(path("self"))?,
    };
    let theirs = path(&pid.to_string());
    // Most often it is the same, and a lower one takes a privilege.
    if fs::read_to_string(&theirs)?.trim() != score.trim() {
        fs::write(theirs, score.trim())?;
    }
    Ok(())
}

/// Those that the process is to have by its configuration are set later, by itself.
fn limits(pid: i32) {
    for resource in 0..RESOURCES {
        let mut limit = MaybeUninit::<libc::rlimit>::uninit();
        // SAFETY: asks for the caller's own limit, which is written to `limit`.
        let asked = unsafe { libc::prlimit(0, resource, std::ptr::null(), limit.as_mut_ptr()) };
        if asked == 0 {
            // SAFETY: `limit` was written by the call above, and is only read.
            unsafe { libc::prlimit(pid, resource, limit.as_ptr(), std::ptr::null_mut()) };
        }
    }
}

fn processors(pid: i32) {
    // SAFETY: a set is an array of bits, for which zero is valid.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    let size = size_of_val(&set);
    // SAFETY: `set` is valid for writes of `size`, then for reads of it.
    unsafe {
        if libc::sched_getaffinity(0, size, &raw mut set) == 0 {
            libc::sched_setaffinity(pid, size, &raw const set);
        }
    }
}

fn niceness(pid: i32) {
    let Ok(who) = libc::id_t::try_from(pid) else { return };
    // SAFETY: takes no pointers. It fails for none of our own.
    unsafe {
        let own = libc::getpriority(libc::PRIO_PROCESS, 0);
        libc::setpriority(libc::PRIO_PROCESS, who, own);
    }
}
