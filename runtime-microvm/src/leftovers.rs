//! Monitors whose creator is gone.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{MicroVmError, io_error};

/// How long a killed process may take to be gone, milliseconds: freeing the
/// memory of a large guest takes a while.
const GONE_WITHIN_MS: u16 = 30_000;

/// Kills every monitor of the sandbox whose directory is `state_dir`.
pub fn kill_monitors(state_dir: &Path) -> Result<(), MicroVmError> {
    while let Some((_, process)) = find_monitor(state_dir)? {
        kill(&process).and_then(|()| wait(&process)).map_err(io_error("kill a monitor"))?;
    }
    Ok(())
}

/// Finds a monitor of the sandbox whose directory is `state_dir`: its process
/// id, and a descriptor of the process.
///
/// A monitor is recognised by its last argument, which is that directory. It is
/// pinned by the descriptor before it is looked at for good, so that a recycled
/// process id cannot be mistaken for it.
pub fn find_monitor(state_dir: &Path) -> Result<Option<(i32, OwnedFd)>, MicroVmError> {
    let entries = fs::read_dir("/proc").map_err(io_error("list processes"))?;
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(pids.into_iter().find_map(|pid| pin_monitor(pid, state_dir)))
}

/// The process `pid` and a descriptor of it, if it is a monitor of that sandbox.
pub fn pin_monitor(pid: i32, state_dir: &Path) -> Option<(i32, OwnedFd)> {
    if !is_monitor_of(pid, state_dir) {
        return None;
    }
    let process = open(pid).ok()?;
    is_monitor_of(pid, state_dir).then_some((pid, process))
}

fn is_monitor_of(pid: i32, state_dir: &Path) -> bool {
    let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let mut args = line.strip_suffix(b"\0").unwrap_or(&line).rsplit(|byte| *byte == 0);
    let last = args.next() == Some(state_dir.as_os_str().as_bytes());
    // A program, and perhaps a verb, before it.
    last && args.next().is_some_and(|arg| !arg.is_empty()) && has_channel(pid)
}

/// Whether the standard input is a socket, as a monitor's is and that of a
/// command somebody typed with the same argument is not.
fn has_channel(pid: i32) -> bool {
    fs::read_link(format!("/proc/{pid}/fd/0"))
        .is_ok_and(|target| target.as_os_str().as_bytes().starts_with(b"socket:"))
}

/// A descriptor of the process `pid`.
pub fn open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain integers; returns a new descriptor.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).map_err(|_| io::ErrorKind::InvalidData)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Kills the process.
pub fn kill(process: &OwnedFd) -> io::Result<()> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a descriptor of ours, and no extra information to point to.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            libc::SIGKILL,
            no_info,
            0,
        )
    };
    if sent < 0 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::ESRCH) { Ok(()) } else { Err(error) };
    }
    Ok(())
}

/// Waits until a process that ends is gone.
pub fn wait(process: &OwnedFd) -> io::Result<()> {
    let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::from(GONE_WITHIN_MS))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};

    #[test]
    fn the_monitor_is_killed_and_its_likeness_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let sleeper = |stdin: Stdio| {
            // `sh -c 'sleep 100; :' <dir>` has the directory as its last argument.
            let mut command = Command::new("sh");
            command.args(["-c", "sleep 100; :"]).arg(dir.path()).stdin(stdin);
            let child = command.spawn().unwrap();
            // The kernel resumes the parent a moment before the arguments are in place.
            // (A monitor that is missed at that moment has nobody to serve, sees that,
            // and ends.)
            let line = format!("/proc/{}/cmdline", child.id());
            while fs::read(&line).unwrap().is_empty() {
                std::thread::yield_now();
            }
            child
        };
        let (_ours, theirs) = UnixStream::pair().unwrap();
        let mut monitor = sleeper(OwnedFd::from(theirs).into());
        let mut likeness = sleeper(Stdio::null());
        kill_monitors(dir.path()).unwrap();
        kill_monitors(dir.path()).unwrap();
        assert!(!monitor.wait().unwrap().success());
        assert!(likeness.try_wait().unwrap().is_none());
        likeness.kill().unwrap();
        likeness.wait().unwrap();
    }
}
