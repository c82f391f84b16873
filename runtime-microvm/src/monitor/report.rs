//! What a monitor reports to the process that started it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::config::MonitorConfig;
use crate::kvm::Fault;
use crate::machine::DeviceMetrics;
use crate::vcpu_loop::Ending;

/// A message from the monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The machine is up and its guest runs; its statistics come beside this
    /// message.
    Created,
    /// The machine could not be built.
    NotCreated(SetupFailure),
    /// What [`super::request::Request::Take`] gets: what the machine is made of, and
    /// beside this message the descriptors of [`super::waiting::HANDED`]. That it runs
    /// is reported next.
    Kept(Box<MonitorConfig>),
    /// What became of [`super::request::Request::Save`].
    Saved(Result<SavedFiles, NotSaved>),
    /// What became of another request.
    Done(Result<(), NotDone>),
    /// The machine has ended.
    Ended {
        /// The failure, unless the guest powered off.
        failure: Option<GuestFailure>,
        /// What the devices did.
        metrics: DeviceMetrics,
    },
}

/// A saved machine: its memory and its state are in the files that came with the
/// request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedFiles {
    /// Pages of memory that are not zero.
    pub pages: u64,
    /// A workload runs in it.
    pub running: bool,
    /// What the machine is made of.
    pub machine: MonitorConfig,
}

/// A machine that was not saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NotSaved {
    /// Its processor has something to do; it goes on.
    Busy,
    /// Something failed; it goes on.
    Failed(SetupFailure),
}

/// What was asked for and not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NotDone {
    /// The machine is in that state already.
    Already,
    /// No workload runs in it, or not any more.
    NotRunning,
}

/// A machine that could not be built: an error of the monitor's process, cause
/// by cause, outermost first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupFailure {
    message: String,
    cause: Option<Box<SetupFailure>>,
}

impl SetupFailure {
    /// Keeps the messages of an error and its sources.
    #[must_use]
    pub fn from_error(error: &dyn std::error::Error) -> Self {
        Self {
            message: error.to_string(),
            cause: error.source().map(|source| Box::new(Self::from_error(source))),
        }
    }
}

impl fmt::Display for SetupFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SetupFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let cause: &(dyn std::error::Error + 'static) = self.cause.as_deref()?;
        Some(cause)
    }
}

/// A guest that did not end as it should.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestFailure {
    /// What happened.
    pub kind: FailureKind,
    /// The last lines of the kernel's messages, oldest first; empty when there
    /// are none.
    pub console: Vec<String>,
}

/// What happened to a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// It did not get ready in time.
    Hung {
        /// What it was to reach next.
        waiting_for: Awaited,
        /// How long it had, seconds.
        seconds: u64,
        /// What its processor was doing.
        fault: Fault,
    },
    /// How its machine ended.
    Ended(Ending),
}

/// What a booting guest reaches, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Awaited {
    /// The kernel starts PID 1.
    Kernel,
    /// PID 1 connects to the host.
    Agent,
}

impl fmt::Display for GuestFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            FailureKind::Hung { waiting_for, seconds, fault } => {
                let what = match waiting_for {
                    Awaited::Kernel => "the guest kernel did not start PID 1",
                    Awaited::Agent => "the guest's PID 1 did not get ready",
                };
                write!(f, "{what} within {seconds} s; it was at {fault}")?;
            }
            FailureKind::Ended(ending) => write!(f, "{ending}")?,
        }
        if self.console.is_empty() {
            return f.write_str(" (the guest kernel left no messages)");
        }
        f.write_str("; last messages of the guest kernel:")?;
        for line in &self.console {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for GuestFailure {}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerOff => f.write_str("the guest powered off before its workload was done"),
            Self::GuestFailed(reason) => f.write_str(reason),
            Self::Reset => f.write_str("the guest kernel panicked and reset the machine"),
            Self::Halted => f.write_str("the guest halted for good"),
            Self::TripleFault(fault) => write!(f, "the guest triple-faulted at {fault}"),
            Self::InternalError(fault) => {
                write!(f, "KVM cannot execute the guest's instruction at {fault}")
            }
            Self::FailEntry { reason } => {
                write!(f, "the processor refused to enter the guest (reason {reason:#x})")
            }
            Self::RunFailed { errno: libc::EFAULT } => f.write_str(
                "the guest's memory is gone: a file it is mapped from, its snapshot's or its \
                 kernel's, was cut off or cannot be read",
            ),
            Self::RunFailed { errno } => {
                let error = std::io::Error::from_raw_os_error(*errno);
                write!(f, "KVM cannot run the guest: {error}")
            }
            Self::UnexpectedExit(exit) => write!(f, "the guest made KVM exit with {exit}"),
            Self::Stopped(fault) => write!(f, "the guest was stopped at {fault}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.rip)?;
        if !self.instruction.is_empty() {
            f.write_str(" [")?;
            for (index, byte) in self.instruction.iter().enumerate() {
                let space = if index == 0 { "" } else { " " };
                write!(f, "{space}{byte:02x}")?;
            }
            f.write_str("]")?;
        }
        match self.suberror {
            Some(suberror) => write!(f, " (KVM suberror {suberror})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    #[test]
    fn a_failure_says_what_where_and_the_last_lines() {
        let fault = Fault {
            rip: 0xffff_ffff_8100_0042,
            cr2: 0,
            instruction: vec![0x0f, 0x0b],
            suberror: Some(1),
        };
        let failure = GuestFailure {
            kind: FailureKind::Ended(Ending::InternalError(fault)),
            console: vec!["line one".into(), "line two".into()],
        };
        assert_eq!(
            failure.to_string(),
            "KVM cannot execute the guest's instruction at 0xffffffff81000042 [0f 0b] (KVM \
             suberror 1); last messages of the guest kernel:\n  line one\n  line two"
        );
    }

    #[test]
    fn causes_survive_the_way_between_processes() {
        let path = std::path::PathBuf::from("/no/kernel");
        let source = std::io::ErrorKind::NotFound.into();
        let error = crate::boot::BootError::Read { path, source };
        let json = serde_json::to_string(&SetupFailure::from_error(&error)).unwrap();
        let back: SetupFailure = serde_json::from_str(&json).unwrap();
        assert_eq!(back.to_string(), "cannot read the kernel /no/kernel");
        assert_eq!(back.source().unwrap().to_string(), "entity not found");
    }
}
