//! The keeper: the parent of a container that was made ahead.
//!
//! It makes the container's first process, which sets everything up and waits, and
//! holds what belongs to it: the sandbox's lock, our end of the conversation with that
//! process, whatever the caller wants held. Whoever takes the container calls, and
//! gets all of it. From then on the keeper is what only a parent can be: it says how
//! the workload ended. The workload dies with it, and with whoever took it.
//!
//! A copy of our process that never execs, so it shares its pages with whoever
//! prepared it. Only raw system calls, as everything here.

use std::os::fd::RawFd;

use bulkhead_runtime::Lifetime;

use crate::message::{Message, Taken, receive_lifetime};
use crate::sys::{self, Errno};

use super::{STREAMS, Script, process};

/// What a keeper holds, all above the standard streams.
#[derive(Debug)]
pub(crate) struct Kept<'a> {
    /// Where whoever takes the container calls.
    pub listener: RawFd,
    /// Our end of the conversation with the container's first process.
    pub conversation: RawFd,
    /// The sandbox's lock.
    pub lock: RawFd,
    /// All of these, and what is only held.
    pub all: &'a [RawFd],
}

/// Makes the process that runs `script` with `make`, which is `clone3` giving its
/// descriptor, and keeps it until it has ended.
///
/// `pidfd` is where `make` puts that descriptor.
pub(crate) fn run(
    script: &Script<'_>,
    kept: &Kept<'_>,
    make: impl FnOnce(&mut RawFd) -> Result<usize, Errno>,
) -> ! {
    let _guard = super::NoReturn;
    // Nobody who prepares a container is to be the parent of what outlives it.
    // SAFETY: the child goes on making raw system calls only.
    match unsafe { sys::fork() } {
        Ok(0) => {}
        Ok(_) => sys::exit(0),
        Err(Errno(errno)) => super::fail(script.sync, &Message::NotMade { errno }),
    }
    process::reset_signals();
    // Neither a terminal's signals nor a reader of the creator's output are to
    // depend on this process.
    let _ = sys::setsid();
    let mut pidfd = -1;
    let pid = match make(&mut pidfd) {
        Ok(0) => super::run(script),
        Ok(pid) => i32::try_from(pid).unwrap_or(-1),
        Err(Errno(errno)) => super::fail(script.sync, &Message::NotMade { errno }),
    };
    let _ = process::adopt_stdio(script.stdio);
    process::close_all_but(STREAMS.into_iter().chain(kept.all.iter().copied()).chain([pidfd]));
    let Some(taker) = await_taker(kept, pid, pidfd) else {
        // The lock last: whoever gets it finds nothing held any more.
        process::close_all_but(STREAMS.into_iter().chain([kept.lock]));
        sys::exit(0);
    };
    // The conversation, the lock and whatever was held are the taker's now.
    process::close_all_but(STREAMS.into_iter().chain([taker.socket, pidfd]));
    stay(&taker, pidfd)
}

/// Whoever took the container.
struct Taker {
    socket: RawFd,
    lifetime: Lifetime,
}

/// Waits for somebody to take the container; nobody does once it has ended.
fn await_taker(kept: &Kept<'_>, pid: i32, pidfd: RawFd) -> Option<Taker> {
    loop {
        let [ended, called] = sys::poll([pidfd, kept.listener]).unwrap_or_default();
        if ended {
            return None;
        }
        if !called {
            continue;
        }
        let Ok(socket) = sys::accept(kept.listener) else { continue };
        let Ok(lifetime) = receive_lifetime(socket) else {
            sys::close(socket);
            continue;
        };
        let taken = Taken { pid, keeper: sys::getpid() };
        let fds = [kept.conversation, kept.lock, pidfd];
        if taken.send(socket, fds).is_ok() {
            return Some(Taker { socket, lifetime });
        }
        sys::close(socket);
    }
}

/// Waits for the workload's end and says what it was. A workload that is attached to
/// its taker is killed when that is gone.
fn stay(taker: &Taker, pidfd: RawFd) -> ! {
    let mut attached = taker.lifetime == Lifetime::Attached;
    loop {
        // A negative descriptor is not waited for.
        let hung_up = if attached { taker.socket } else { -1 };
        let [ended, gone] = sys::poll([pidfd, hung_up]).unwrap_or_default();
        if ended {
            if let Ok(Some((_, status))) = sys::reap() {
                let _ = sys::send(taker.socket, &status.to_ne_bytes());
            }
            sys::exit(0);
        }
        if gone {
            attached = false;
            let _ = sys::signal_process(pidfd, libc::SIGKILL);
        }
    }
}
