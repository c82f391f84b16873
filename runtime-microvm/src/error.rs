//! What can go wrong with a microVM, seen from outside its monitor.

use std::io;

use bulkhead_runtime::{Error, Isolation, SandboxId};

use crate::files::FilesError;
use crate::monitor::report::{GuestFailure, SetupFailure};
use crate::session::SessionError;
use crate::session::convert::ConvertError;
use crate::snapshot::SnapshotError;

/// Failure of a microVM.
#[derive(Debug, thiserror::Error)]
pub enum MicroVmError {
    /// The configuration names no monitor program.
    #[error("no monitor program is configured")]
    NoMonitor,
    /// There is no guest kernel.
    #[error("there is no guest kernel; `bulkhead kernel build` makes one")]
    NoKernel,
    /// The monitor could not be started.
    #[error("cannot start the monitor {program}")]
    Spawn {
        /// Its path.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file, socket or process could not be handled.
    #[error("cannot {action}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The monitor could not build the machine.
    #[error("the monitor could not build the machine")]
    NotCreated(#[source] SetupFailure),
    /// The snapshot to go on from cannot be used.
    #[error("cannot go on from a snapshot")]
    Snapshot(#[from] SnapshotError),
    /// There is nothing to restore a machine from.
    #[error("the template was removed before a machine could be restored from it")]
    NoTemplate,
    /// The monitor of a prepared machine does not answer.
    #[error("the prepared machine is no longer kept")]
    NotKept,
    /// The monitor could not save the machine.
    #[error("the monitor could not save the machine")]
    NotSaved(#[source] SetupFailure),
    /// The guest did not come to rest.
    #[error("the guest did not come to rest within {seconds} s, so it cannot be saved")]
    NeverIdle {
        /// How long it had.
        seconds: u64,
    },
    /// The application ended instead of getting ready.
    #[error("the application ended with exit code {code} before it was ready: {missing}")]
    EndedEarly {
        /// As a shell would see it.
        code: u8,
        /// What it was waited for.
        missing: String,
    },
    /// The application did not get ready.
    #[error("the application was not ready within {within:?}: {missing}")]
    NotReady {
        /// How long it had.
        within: std::time::Duration,
        /// What it was waited for.
        missing: String,
    },
    /// The guest of a snapshot does not take up its work.
    #[error("the guest of the snapshot did not answer within {seconds} s")]
    NoAnswer {
        /// How long it had.
        seconds: u64,
    },
    /// The guest failed.
    #[error("{0}")]
    Guest(GuestFailure),
    /// The monitor ended without a word.
    #[error("the monitor died unexpectedly ({status}){}", said(.stderr))]
    MonitorDied {
        /// How.
        status: String,
        /// What it printed.
        stderr: String,
    },
    /// The monitor was killed at an access to a file that it has mapped.
    #[error(
        "the machine's memory is gone: a file it is mapped from, its snapshot's or its kernel's, \
         was cut off or cannot be read"
    )]
    MemoryLost,
    /// The bundle asks for what a microVM cannot do.
    #[error("the bundle cannot be run in a microVM")]
    Convert(#[from] ConvertError),
    /// The conversation with the guest broke.
    #[error("the conversation with the guest broke")]
    Session(#[source] SessionError),
    /// The files of the host cannot be shared.
    #[error("volumes and files of the host cannot be shared with the microVM")]
    Files(#[from] FilesError),
    /// The snapshot is of a machine to which nothing can be mounted.
    #[error(
        "volumes and files of the host cannot be mounted in a snapshot whose workload runs, or that \
         was taken of a machine without them"
    )]
    NoShares,
    /// The memory limit leaves no room for a kernel.
    #[error(
        "a memory limit of {bytes} bytes is too small for a guest kernel: {least_mib} MiB at least"
    )]
    MemoryLimit {
        /// What was asked for.
        bytes: i64,
        /// The least that works.
        least_mib: u32,
    },
}

fn said(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!(": {}", stderr.trim_end()) }
}

/// Adapts an I/O error.
pub(crate) fn io_error<E: Into<io::Error>>(
    action: &'static str,
) -> impl FnOnce(E) -> MicroVmError {
    move |source| MicroVmError::Io { action, source: source.into() }
}

/// Makes it an error of the seam.
pub(crate) fn wall(step: &'static str) -> impl FnOnce(MicroVmError) -> Error {
    move |error| Error::Wall { isolation: Isolation::MicroVm, step, source: Box::new(error) }
}

/// The session's errors that the seam knows are its own; the rest is the wall's.
pub(crate) fn session_error(
    id: &SandboxId,
    command: &str,
    step: &'static str,
) -> impl FnOnce(SessionError) -> Error {
    let (id, command) = (id.clone(), command.to_owned());
    move |error| match error {
        SessionError::NotFound => Error::WorkloadNotFound { command },
        SessionError::NotExecutable(source) => Error::WorkloadNotExecutable { command, source },
        SessionError::NotRunning => Error::NotRunning { id },
        other => wall(step)(MicroVmError::Session(other)),
    }
}
