//! What can go wrong in any runtime.

use std::error::Error as StdError;

use crate::{BundleError, Isolation, Missing, SandboxId, StateError};

/// Failure of a [`crate::Runtime`] or [`crate::Sandbox`].
///
/// The variants are the cases a caller treats differently; everything specific
/// to one wall travels in [`Error::Wall`] with that wall's own typed error as
/// its source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runtime cannot work on this host.
    #[error("the {isolation} runtime is not available here: {}", list(.missing))]
    Unavailable {
        /// Which wall.
        isolation: Isolation,
        /// What it lacks; never empty.
        missing: Vec<Missing>,
    },

    /// The runtime does not do this at all.
    #[error("{what} is not supported by the {isolation} runtime")]
    Unsupported {
        /// Which wall.
        isolation: Isolation,
        /// What was asked of it.
        what: &'static str,
    },

    /// The command to run does not exist in the image (exit code 127).
    #[error("`{command}`: no such file in the image")]
    WorkloadNotFound {
        /// First element of the process arguments.
        command: String,
    },

    /// The command exists but cannot be executed (exit code 126).
    #[error("`{command}` cannot be executed")]
    WorkloadNotExecutable {
        /// First element of the process arguments.
        command: String,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },

    /// The caller asked to give up before the workload had started.
    #[error("interrupted before sandbox {id} had started")]
    Interrupted {
        /// Which sandbox.
        id: SandboxId,
    },

    /// The sandbox has no running workload to act on.
    #[error("sandbox {id} is not running")]
    NotRunning {
        /// Which sandbox.
        id: SandboxId,
    },

    /// The sandbox is paused, and what was asked for needs it to run.
    #[error("sandbox {id} is paused")]
    Paused {
        /// Which sandbox.
        id: SandboxId,
    },

    /// The sandbox is to go on and is not paused.
    #[error("sandbox {id} is not paused")]
    NotPaused {
        /// Which sandbox.
        id: SandboxId,
    },

    /// The bundle is not usable.
    #[error("unusable bundle")]
    Bundle(#[from] BundleError),

    /// The on-disk record could not be read or written.
    #[error("state of the sandbox")]
    State(#[from] StateError),

    /// A step of building, running or removing the wall failed.
    #[error("{isolation}: {step}")]
    Wall {
        /// Which wall.
        isolation: Isolation,
        /// What was being done, as a phrase: `creating namespaces`.
        step: &'static str,
        /// The wall's own error.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
}

fn list(missing: &[Missing]) -> String {
    let parts: Vec<&str> = missing.iter().map(|m| m.what.as_str()).collect();
    parts.join(", ")
}
