//! Between a machine and its session: the guest's call, with which the session
//! begins, and the machine's end, which may be why it broke.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{MicroVmError, io_error};
use crate::session::SessionError;

/// How long the end of the machine may come after that of the session,
/// milliseconds; where guest kernels are emulated, an exit takes a while.
const MACHINE_FOLLOWS_MS: u16 = 3_000;

/// What came first while the guest was waited for.
#[derive(Debug)]
pub enum Call {
    /// Its PID 1 has called.
    Guest(UnixStream),
    /// The machine's descriptor polls readable.
    Machine,
    /// The interrupt's descriptor polls readable.
    Interrupt,
}

/// Waits for the guest's PID 1 to call `listener`, which does not block, for
/// `timeout` at most.
pub fn answer(
    listener: &UnixListener,
    machine: BorrowedFd<'_>,
    interrupt: Option<BorrowedFd<'_>>,
    timeout: PollTimeout,
) -> Result<Call, MicroVmError> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => return Ok(Call::Guest(stream)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(io_error("accept the guest")(error)),
        }
        let all = [listener.as_fd(), machine].into_iter().chain(interrupt);
        let mut fds: Vec<_> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut fds, timeout) {
            Ok(0) => {
                return Err(io_error("hear of the guest in time")(io::ErrorKind::TimedOut));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(io_error("wait for the guest")(errno)),
        }
        let is_ready = |at: usize| fds.get(at).is_some_and(|fd| fd.any().unwrap_or(false));
        if is_ready(2) {
            return Ok(Call::Interrupt);
        }
        if is_ready(1) {
            return Ok(Call::Machine);
        }
    }
}

/// Whether a session may have broken with `error` because its machine ended:
/// `machine` polls readable a moment later. A guest that goes on without a
/// session is not waited for.
pub fn is_by_machine(error: &SessionError, machine: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(machine, PollFlags::POLLIN)];
    let soon = PollTimeout::from(MACHINE_FOLLOWS_MS);
    error.is_broken() && poll(&mut fds, soon).is_ok_and(|ready| ready > 0)
}
