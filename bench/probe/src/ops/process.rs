//! Processes and threads.

use std::ffi::{c_char, c_void};
use std::io;
use std::ptr;

use super::Operation;
use crate::sys::{check, wait_for};

struct Thread;

extern "C" fn nothing(_: *mut c_void) -> *mut c_void {
    ptr::null_mut()
}

impl Operation for Thread {
    fn run(&mut self, rounds: u64) -> io::Result<()> {
        for _ in 0..rounds {
            let mut thread = 0;
            // SAFETY: `thread` is writable, default attributes are asked for, and the
            // function ignores its argument.
            let error = unsafe {
                libc::pthread_create(&raw mut thread, ptr::null(), nothing, ptr::null_mut())
            };
            if error != 0 {
                return Err(io::Error::from_raw_os_error(error));
            }
            // SAFETY: `thread` was created above and is joined once.
            unsafe { libc::pthread_join(thread, ptr::null_mut()) };
        }
        Ok(())
    }
}

pub fn thread() -> io::Result<Box<dyn Operation>> {
    Ok(Box::new(Thread))
}

/// Forks; the child calls `child`, which must not return and must do only what
/// is safe after a fork, and whose exit code is an error number.
fn fork_and_wait(child: fn() -> !) -> io::Result<()> {
    // SAFETY: the child runs `child` only, which ends it.
    let pid = unsafe { libc::fork() };
    if check(pid)? == 0 {
        child();
    }
    let status = wait_for(pid)?;
    if !libc::WIFEXITED(status) {
        return Err(io::Error::from_raw_os_error(libc::ECHILD));
    }
    match libc::WEXITSTATUS(status) {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

struct Fork(fn() -> !);

impl Operation for Fork {
    fn run(&mut self, rounds: u64) -> io::Result<()> {
        for _ in 0..rounds {
            fork_and_wait(self.0)?;
        }
        Ok(())
    }
}

pub fn fork() -> io::Result<Box<dyn Operation>> {
    // SAFETY: ends the child without running any handler of the parent's.
    Ok(Box::new(Fork(|| unsafe { libc::_exit(0) })))
}

pub fn fork_exec() -> io::Result<Box<dyn Operation>> {
    Ok(Box::new(Fork(exec_true)))
}

/// Becomes `probe true`, or exits with the error number.
fn exec_true() -> ! {
    let arguments: [*const c_char; 3] = [c"probe".as_ptr(), c"true".as_ptr(), ptr::null()];
    let environment: [*const c_char; 1] = [ptr::null()];
    // SAFETY: path, arguments and environment are terminated as execve(2) wants
    // them; when it returns, errno says why.
    unsafe {
        libc::execve(c"/proc/self/exe".as_ptr(), arguments.as_ptr(), environment.as_ptr());
        libc::_exit(*libc::__errno_location())
    }
}
