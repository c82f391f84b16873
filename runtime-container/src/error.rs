//! What can go wrong behind this wall.

use std::io;

use bulkhead_runtime::{Error, Isolation};

use crate::cgroup::CgroupError;
use crate::plan::SpecError;

/// Failure of the container runtime: the source of
/// [`bulkhead_runtime::Error::Wall`].
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// The bundle asks for what cannot be done.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// Cgroups.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The kernel refused to make the process or its namespaces.
    #[error("cannot make a process with new namespaces")]
    Clone(#[source] io::Error),
    /// A step inside the new namespaces failed.
    #[error("failed while {step}")]
    Step {
        /// What was being done, on what.
        step: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The child died before it could say what was wrong.
    #[error("the container's first process died before it was set up")]
    Died,
    /// A step that should have been taken when the container was prepared.
    #[error("something is left to do that a prepared container cannot be told")]
    NotLeft,
    /// The limits of the spec cannot be enforced.
    #[error(
        "limits are asked for and cgroups cannot be used (run as root, or delegate a cgroup)"
    )]
    LimitsWithoutCgroups(#[source] CgroupError),
    /// Nothing would be left to find the container by.
    #[error("a detached container needs a cgroup (run as root)")]
    DetachedWithoutCgroups(#[source] CgroupError),
    /// Any other system call.
    #[error("cannot {action}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel does not tell how a process ended to anyone but its parent.
    #[error(
        "only the process that started the container can learn how it ended \
         (Linux 6.15 and later tell everyone)"
    )]
    ExitUnknown,
}

impl ContainerError {
    pub(crate) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }
}

/// Wraps an error of this wall, saying which part of the work it ended.
pub(crate) fn wall<E: Into<ContainerError>>(step: &'static str) -> impl FnOnce(E) -> Error {
    move |error| match error.into() {
        ContainerError::Spec(SpecError::Bundle(bundle)) => Error::Bundle(bundle),
        error => Error::Wall { isolation: Isolation::Container, step, source: Box::new(error) },
    }
}
