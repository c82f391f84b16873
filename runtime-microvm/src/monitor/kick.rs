//! The signal that brings a thread out of `KVM_RUN`.

use std::io;

/// Its number; `SIGRTMIN` itself is left to the C library.
pub fn signal() -> libc::c_int {
    libc::SIGRTMIN() + 1
}

extern "C" fn nothing(_signal: libc::c_int) {}

/// Has the process ignore the signal, but for the call it interrupts.
pub fn ignore() -> io::Result<()> {
    // SAFETY: the handler does nothing; it is there so that the signal interrupts
    // KVM_RUN instead of killing the process.
    let previous =
        unsafe { libc::signal(signal(), nothing as *const () as libc::sighandler_t) };
    if previous == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A thread of this process.
#[derive(Debug, Clone, Copy)]
pub struct Thread(libc::pid_t);

/// The calling thread.
pub fn this_thread() -> Thread {
    // SAFETY: gettid always succeeds.
    Thread(unsafe { libc::gettid() })
}

impl Thread {
    /// Interrupts it. A signal that arrives just before `KVM_RUN` is lost: ask
    /// again until it has come out.
    pub fn kick(self) {
        // SAFETY: sends a signal to a thread of our own process, which handles it.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), self.0, signal()) };
    }
}
