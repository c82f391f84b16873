//! Making attempts, one after the other, as told on standard input.
//!
//! An order is a line, the attempt's name and its arguments separated by tabs.
//! The attempt is made in a process of its own, so that whatever ends it does not
//! end the session; that process reports, keeps what it has until a further,
//! empty line arrives, and exits. A machine that takes seconds to start is thus
//! started once for all attempts.

use std::io;

use super::report::{Ending, Report};
use super::{Done, Words, find};
use crate::line::READY;
use crate::ops::{OPERATIONS, measure};
use crate::sys::{check, write_all};

const STDIN: i32 = libc::STDIN_FILENO;
const STDOUT: i32 = libc::STDOUT_FILENO;

/// The order that is no attempt: a fixed piece of ordinary work.
const WORK: &str = "work";

/// Time for each operation of that work, nanoseconds.
const WORK_SLICE_NS: u64 = 500_000;

/// Follows orders until there are no more. For `probe attempts`.
pub(crate) fn session() -> io::Result<()> {
    adopt_orphans()?;
    write_all(STDOUT, READY.as_bytes())?;
    while let Some(order) = read_line()? {
        let mut words = order.split('\t').filter(|word| !word.is_empty());
        if let Some(name) = words.next() {
            follow(name, &words.collect::<Vec<_>>())?;
        }
    }
    Ok(())
}

/// Makes one attempt, for `probe attempt NAME`. `false`: there is none of that
/// name.
pub(crate) fn once(name: &str, words: &Words<'_>) -> io::Result<bool> {
    if find(name).is_none() {
        return Ok(false);
    }
    attempt(name, words)?;
    Ok(true)
}

/// Makes an attempt in a process of its own and clears up after it.
fn follow(name: &str, words: &Words<'_>) -> io::Result<()> {
    // SAFETY: this program has a single thread, so the child may do whatever the
    // parent may.
    let child = check(unsafe { libc::fork() })?;
    if child == 0 {
        // SAFETY: a group of its own, so that whatever it starts can be ended with it.
        unsafe { libc::setpgid(0, 0) };
        let code = i32::from(attempt(name, words).is_err());
        // SAFETY: ends the child without going back to what the parent does.
        unsafe { libc::_exit(code) }
    }
    let mut status = 0;
    // SAFETY: `status` is writable; the pid is our child's.
    while unsafe { libc::waitpid(child, &raw mut status, 0) } == -1 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    end_group(child);
    if libc::WIFSIGNALED(status) {
        say(name, Ending::Killed { signal: libc::WTERMSIG(status) })?;
    }
    Ok(())
}

/// Makes the attempt, reports, and holds on to what it got until told.
fn attempt(name: &str, words: &Words<'_>) -> io::Result<()> {
    let done = match find(name) {
        Some(attempt) => (attempt.make)(words),
        None if name == WORK => work(),
        None => Err(io::ErrorKind::InvalidInput.into()),
    };
    let ending = match &done {
        Ok(done) => Ending::Succeeded { says: done.says.clone() },
        Err(error) => Ending::Failed { errno: error.raw_os_error().unwrap_or(0) },
    };
    say(name, ending)?;
    read_line()?;
    drop(done);
    Ok(())
}

/// All operations of the stopwatch, for a moment each.
fn work() -> io::Result<Done> {
    let mut lines = 0;
    for info in OPERATIONS {
        measure(info, WORK_SLICE_NS, 1, &mut |_| lines += 1);
    }
    Ok(Done::saying(format!("{lines} operations")))
}

fn say(attempt: &str, ending: Ending) -> io::Result<()> {
    let report = Report { attempt: attempt.to_owned(), ending };
    write_all(STDOUT, format!("{report}\n").as_bytes())
}

/// Reads to the end of a line and not further: what follows may be for another
/// process. `None` at the end of the input.
fn read_line() -> io::Result<Option<String>> {
    let mut line = Vec::new();
    loop {
        let mut byte = 0_u8;
        // SAFETY: one byte is writable.
        let count = unsafe { libc::read(STDIN, (&raw mut byte).cast(), 1) };
        match check(count) {
            Ok(0) => return Ok(None),
            Ok(_) if byte == b'\n' => {
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
            Ok(_) => line.push(byte),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Grandchildren whose parent is gone become ours, so that they can be waited
/// for. As PID 1 of a sandbox this process gets them anyway.
fn adopt_orphans() -> io::Result<()> {
    // SAFETY: sets a flag of this process.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(drop)
}

/// Ends what is left of an attempt's process group and waits until it is gone.
fn end_group(group: i32) {
    // SAFETY: signals and waits for the group of a child of ours, which keeps its
    // number as long as it has members. That there are none left is no error.
    unsafe {
        libc::kill(-group, libc::SIGKILL);
        while libc::waitpid(-group, std::ptr::null_mut(), 0) > 0 {}
    }
}
