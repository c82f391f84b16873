//! A process of a container, as the host holds it: by a descriptor that cannot
//! come to mean another process.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use bulkhead_runtime::{ExitStatus, Signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, waitid,
};

use crate::error::ContainerError;
use crate::sys;

/// A process in a container.
#[derive(Debug)]
pub(crate) struct Workload {
    pub pid: i32,
    pidfd: OwnedFd,
    /// Where its parent says how it ended, if that is a keeper.
    relay: Option<OwnedFd>,
    status: Option<ExitStatus>,
}

/// How long a parent that is not us is given to reap.
const REAPING: Duration = Duration::from_secs(2);

impl Workload {
    /// A child of ours.
    pub(crate) fn new(pid: i32, pidfd: OwnedFd) -> Self {
        Self { pid, pidfd, relay: None, status: None }
    }

    /// A child of a keeper, which says over `relay` how it ended.
    pub(crate) fn kept(pid: i32, pidfd: OwnedFd, relay: OwnedFd) -> Self {
        Self { relay: Some(relay), ..Self::new(pid, pidfd) }
    }

    /// Some process, by number. The caller makes sure afterwards that it is the
    /// one it meant.
    pub(crate) fn open(pid: i32) -> Option<Self> {
        let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        Some(Self::new(pid, pidfd))
    }

    /// Readable once it has exited.
    pub(crate) fn event_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// False when it had exited already.
    pub(crate) fn signal(&self, signal: Signal) -> Result<bool, ContainerError> {
        if self.status.is_some() {
            return Ok(false);
        }
        // rustix knows no real-time signals.
        match sys::signal_process(self.pidfd.as_raw_fd(), signal.number()) {
            Ok(()) => Ok(true),
            Err(sys::Errno(libc::ESRCH)) => Ok(false),
            Err(errno) => Err(ContainerError::io("send a signal")(errno.into())),
        }
    }

    /// Waits for it to exit and reaps it if it is our child.
    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Option<ExitStatus>, ContainerError> {
        if self.status.is_none() && self.has_exited(timeout)? {
            self.status = Some(self.reap()?);
        }
        Ok(self.status)
    }

    /// Kills it and waits for its end. How it ended may stay unknown.
    pub(crate) fn kill(&mut self) -> Result<(), ContainerError> {
        if self.signal(Signal::KILL)? {
            self.has_exited(None)?;
            // Whoever its parent is reaps it; if that is us, this does.
            let _ = self.reap();
        }
        Ok(())
    }

    /// Waits for the end of a process that is being killed and reaps it if it is our
    /// child; whoever its parent is otherwise does.
    pub(crate) fn wait_for_end(&self) -> Result<(), ContainerError> {
        self.has_exited(None)?;
        let how = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), how);
        Ok(())
    }

    fn has_exited(&self, timeout: Option<Duration>) -> Result<bool, ContainerError> {
        let deadline = timeout.map(|timeout| std::time::Instant::now() + timeout);
        loop {
            let left = deadline.map(|d| d.saturating_duration_since(std::time::Instant::now()));
            // Longer than a clock can count is forever.
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            let mut watched = [PollFd::new(&self.pidfd, PollFlags::IN)];
            match poll(&mut watched, left.as_ref()) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {}
                Err(errno) => {
                    return Err(ContainerError::io("wait for a process")(errno.into()));
                }
            }
        }
    }

    fn reap(&self) -> Result<ExitStatus, ContainerError> {
        loop {
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Ok(Some(status)) => return Ok(exit_status(&status)),
                Ok(None) | Err(Errno::INTR) => {}
                // Not our child, or the caller has its children reaped by the
                // kernel.
                Err(Errno::CHILD) => {
                    return self.told_by_keeper().map_or_else(|| self.told_by_kernel(), Ok);
                }
                Err(errno) => return Err(ContainerError::io("reap a process")(errno.into())),
            }
        }
    }

    /// How it ended, if its keeper lives to say so.
    fn told_by_keeper(&self) -> Option<ExitStatus> {
        let relay = self.relay.as_ref()?;
        let mut status = [0; size_of::<i32>()];
        let read = rustix::io::retry_on_intr(|| rustix::io::read(relay, &mut status));
        let told = read == Ok(status.len());
        told.then(|| from_wait_status(i32::from_ne_bytes(status))).flatten()
    }

    /// How a process ended that is not our child: known once it is reaped.
    fn told_by_kernel(&self) -> Result<ExitStatus, ContainerError> {
        let deadline = std::time::Instant::now() + REAPING;
        loop {
            if let Some(status) = pidfd_exit_status(&self.pidfd)? {
                return Ok(status);
            }
            if std::time::Instant::now() > deadline {
                return Err(ContainerError::ExitUnknown);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn exit_status(status: &WaitIdStatus) -> ExitStatus {
    let killed_by = status.terminating_signal().and_then(Signal::new);
    let code = || status.exit_status().and_then(|code| u8::try_from(code).ok());
    killed_by
        .map_or_else(|| ExitStatus::Exited(code().unwrap_or(u8::MAX)), ExitStatus::Signaled)
}

fn from_wait_status(status: i32) -> Option<ExitStatus> {
    bulkhead_runtime::Exit::from_wait_status(status, false).map(|exit| exit.status)
}

/// `struct pidfd_info` as of Linux 6.13 (linux/pidfd.h): mask, cgroup id, eleven
/// ids, wait status.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup_id: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// `PIDFD_GET_INFO`: `_IOWR(0xff, 11, struct pidfd_info)` (linux/pidfd.h).
const PIDFD_GET_INFO: u64 = 0xc040_ff0b;
/// `PIDFD_INFO_EXIT` (linux/pidfd.h), since Linux 6.15.
const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// `None` while the process has not been reaped.
fn pidfd_exit_status(pidfd: &OwnedFd) -> Result<Option<ExitStatus>, ContainerError> {
    const _: () = assert!(size_of::<PidfdInfo>() == 64);
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    let address = std::ptr::from_mut(&mut info).addr();
    // SAFETY: the ioctl fills a structure of the size its number says.
    match unsafe { sys::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, address) } {
        Ok(_) if info.mask & PIDFD_INFO_EXIT != 0 => Ok(from_wait_status(info.exit_code)),
        Ok(_) => Ok(None),
        Err(_) => Err(ContainerError::ExitUnknown),
    }
}
