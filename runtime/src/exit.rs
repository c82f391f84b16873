//! How a workload ended.

use serde::{Deserialize, Serialize};

use crate::Signal;

/// Exit status of a process, as `wait(2)` reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExitStatus {
    /// Returned or called `_exit` with this code.
    Exited(u8),
    /// Killed by this signal.
    Signaled(Signal),
}

/// How a workload ended, and why if the wall knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The status of the first process.
    pub status: ExitStatus,
    /// The kernel killed a process of the sandbox for exceeding its memory limit.
    pub oom_killed: bool,
}

impl Exit {
    /// The exit code a shell would see: the workload's own, or 128 plus the
    /// signal's number.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self.status {
            ExitStatus::Exited(code) => code,
            ExitStatus::Signaled(signal) => signal.exit_code(),
        }
    }

    /// Interprets the status word of `waitpid(2)`; `None` while the process is
    /// merely stopped or continued.
    #[must_use]
    pub fn from_wait_status(status: i32, oom_killed: bool) -> Option<Self> {
        let status = if libc::WIFEXITED(status) {
            ExitStatus::Exited(u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(u8::MAX))
        } else if libc::WIFSIGNALED(status) {
            ExitStatus::Signaled(Signal::new(libc::WTERMSIG(status))?)
        } else {
            return None;
        };
        Some(Self { status, oom_killed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_follow_the_shell() {
        let exited = Exit::from_wait_status(7 << 8, false).unwrap();
        assert_eq!(exited.code(), 7);
        let killed = Exit::from_wait_status(libc::SIGKILL, true).unwrap();
        assert_eq!((killed.code(), killed.oom_killed), (137, true));
        let stopped = 0x137f;
        assert_eq!(Exit::from_wait_status(stopped, false), None);
    }
}
