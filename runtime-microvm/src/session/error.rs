//! What can go wrong between host and guest.

use std::io;

use bulkhead_guest::protocol::{Failure, ProtocolError, Start, Step};

/// Failure of a session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// A system call on the host failed.
    #[error("cannot {action}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The guest sent something that is not the protocol.
    #[error("the guest does not keep to the protocol")]
    Protocol(#[source] ProtocolError),
    /// The process to start does not fit into a message.
    #[error("the arguments and the environment are too long for the guest")]
    TooLong(#[source] ProtocolError),
    /// The guest closed the connection before the process had ended.
    #[error("the guest ended the connection")]
    Closed,
    /// The guest takes no connection.
    #[error("nothing in the guest takes a connection")]
    Refused,
    /// The command does not exist in the image.
    #[error("no such file in the image")]
    NotFound,
    /// The command exists and cannot be executed.
    #[error("the command cannot be executed")]
    NotExecutable(#[source] io::Error),
    /// The guest could not set up what surrounds the process.
    #[error("in the guest: {step}")]
    Setup {
        /// What it was doing, on what.
        step: String,
        /// What its kernel said.
        #[source]
        source: io::Error,
    },
    /// A process was to join a workload that has ended or was not started.
    #[error("the workload is not running")]
    NotRunning,
}

impl SessionError {
    /// An I/O failure while doing `action`.
    pub(super) fn io<E: Into<io::Error>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Io { action, source: error.into() }
    }

    /// Whether the conversation itself broke, rather than what was asked for
    /// being refused.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        matches!(self, Self::Closed | Self::Io { .. } | Self::Protocol(_))
    }

    /// What `failure` means for `start`.
    pub(super) fn from_failure(failure: Failure, start: &Start) -> Self {
        match failure {
            Failure::NotFound => Self::NotFound,
            Failure::NotExecutable { errno } => {
                Self::NotExecutable(io::Error::from_raw_os_error(errno))
            }
            Failure::Setup { step, errno } => {
                let source = io::Error::from_raw_os_error(errno);
                let step = match subject(step, start) {
                    Some(subject) => format!("{step} {subject}"),
                    None => step.to_string(),
                };
                Self::Setup { step, source }
            }
            Failure::WrongState => Self::NotRunning,
        }
    }
}

/// What a step with an index was at; the index comes from the guest and may be
/// anything.
fn subject(step: Step, start: &Start) -> Option<String> {
    let sandbox = start.sandbox.as_ref()?;
    let text = match step {
        Step::Mount(at) => &sandbox.mounts.get(usize::from(at))?.target,
        Step::Device(at) => &sandbox.devices.get(usize::from(at))?.path,
        Step::Symlink(at) => sandbox.symlinks.iter().nth(usize::from(at) * 2 + 1)?,
        Step::File(at) => &sandbox.files.get(usize::from(at))?.path,
        Step::WorkingDirectory => &start.process.cwd,
        _ => return None,
    };
    Some(text.to_string_lossy().into_owned())
}
