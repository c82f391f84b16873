//! Finding the command and becoming it.

use core::ffi::{CStr, c_char};

use super::path::PathBuffer;
use super::sys::{self, Errno};
use crate::protocol::{Failure, Process};

/// Where commands are looked for when the environment has no `PATH`; docker's.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Executes the command of `process`. Returns only when that failed.
///
/// `argv` and `envp` must point to the strings of `process`, null-terminated.
pub fn exec(process: &Process, argv: &[*const c_char], envp: &[*const c_char]) -> Failure {
    let execute = |path: &CStr| {
        // SAFETY: the spawning side builds both arrays from live C strings and
        // ends them with a null pointer.
        unsafe { sys::exec(path, argv.as_ptr(), envp.as_ptr()) }
    };
    let Some(command) = process.args.iter().next() else { return Failure::NotFound };
    if command.to_bytes().contains(&b'/') {
        return verdict(execute(command));
    }
    let mut path = PathBuffer::new();
    let mut denied = None;
    for dir in search_path(process).split(|byte| *byte == b':') {
        // A failed execve costs far more than asking first.
        let Ok(candidate) = join(&mut path, dir, command) else { continue };
        let errno = match sys::access_execute(candidate) {
            Ok(()) => execute(candidate),
            Err(errno) => errno,
        };
        match verdict(errno) {
            Failure::NotFound => {}
            failure if errno == Errno(libc::EACCES) => denied = Some(failure),
            failure => return failure,
        }
    }
    denied.unwrap_or(Failure::NotFound)
}

fn join<'a>(path: &'a mut PathBuffer, dir: &[u8], command: &CStr) -> sys::Result<&'a CStr> {
    path.clear();
    // An empty element is the working directory (environ(7)).
    path.push(if dir.is_empty() { b"." } else { dir })?;
    path.push(b"/")?;
    path.push(command.to_bytes())?;
    path.c_str()
}

fn search_path(process: &Process) -> &[u8] {
    process
        .env
        .iter()
        .find_map(|variable| variable.to_bytes().strip_prefix(b"PATH="))
        .unwrap_or(DEFAULT_PATH)
}

fn verdict(errno: Errno) -> Failure {
    match errno {
        Errno::NOENT | Errno::NOTDIR => Failure::NotFound,
        Errno(errno) => Failure::NotExecutable { errno },
    }
}
