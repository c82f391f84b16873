//! Other processes.

use std::fs;
use std::io;

use super::{Done, Words, number, word};
use crate::sys::{check, wait_for};

/// Looks for processes whose command line contains `MARK` and says what else
/// stands there.
pub fn see(words: &Words<'_>) -> io::Result<Done> {
    let mark = word(words, 0)?;
    let own = std::process::id().to_string();
    let mut seen = 0;
    let mut found = String::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let name = entry.file_name();
        if !name.as_encoded_bytes()[0].is_ascii_digit() || name == own.as_str() {
            continue;
        }
        seen += 1;
        // One that has just ended has nothing to show.
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(mark) {
            found.push_str(&line);
        }
    }
    Ok(Done::saying(format!("others seen: {seen} {found}")))
}

/// A process that is being traced; let go when dropped.
struct Traced(i32);

impl Drop for Traced {
    fn drop(&mut self) {
        // A running process has to be stopped before it can be left.
        // SAFETY: requests about a process we trace, without memory.
        unsafe {
            let nothing = std::ptr::null_mut::<libc::c_void>();
            libc::ptrace(libc::PTRACE_INTERRUPT, self.0, nothing, nothing);
            libc::waitpid(self.0, std::ptr::null_mut(), libc::__WALL);
            libc::ptrace(libc::PTRACE_DETACH, self.0, nothing, nothing);
        }
    }
}

/// Traces process `PID`, or else one of its own.
pub fn trace(words: &Words<'_>) -> io::Result<Done> {
    let pid: i32 = number(words, 0)?;
    if let Ok(traced) = seize(pid) {
        return Ok(Done::holding(traced, format!("traces process {pid}")));
    }
    let child = child_nobody_traces()?;
    if child == 0 {
        wait_to_be_killed();
    }
    let traced = seize(child);
    if traced.is_err() {
        // SAFETY: our own child.
        unsafe { libc::kill(child, libc::SIGKILL) };
        wait_for(child)?;
    }
    Ok(Done::holding(traced?, "traces a process of its own"))
}

/// A fork whose child does not inherit a tracer: a process can have one only, and
/// the host may be watching this one (clone(2), CLONE_UNTRACED).
fn child_nobody_traces() -> io::Result<i32> {
    let flags = libc::c_long::from(libc::CLONE_UNTRACED | libc::SIGCHLD);
    // SAFETY: as fork; the child only waits to be killed.
    let child = check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })?;
    i32::try_from(child).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// PTRACE_SEIZE does not stop the process: a neighbour notices nothing.
fn seize(pid: i32) -> io::Result<Traced> {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: a request without memory.
    let seized = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, nothing, nothing) };
    check(seized).map(|_| Traced(pid))
}

/// For children that only have to be there.
pub(super) fn wait_to_be_killed() -> ! {
    loop {
        // SAFETY: no arguments.
        unsafe { libc::pause() };
    }
}
