//! Namespaces of the tests' own: what other programs on this machine start and
//! end meanwhile is not counted as left behind by ours.

use std::process;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

/// Continues in a process that is the first of its pid namespace; the caller
/// becomes the one that waits for it and never returns. Needs root.
pub fn enter() -> nix::Result<()> {
    unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS)?;
    // SAFETY: nothing has started a thread yet.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            let code = match waitpid(child, None)? {
                WaitStatus::Exited(_, code) => code,
                _ => i32::from(u8::MAX),
            };
            process::exit(code)
        }
        ForkResult::Child => {
            // Ctrl-C ends the one that waits, and that must end everything.
            set_pdeathsig(Signal::SIGKILL)?;
            let none: Option<&str> = None;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            mount(Some("proc"), "/proc", Some("proc"), flags, none)
        }
    }
}
