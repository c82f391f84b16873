//! The seam between the walls.
//!
//! A [`Runtime`] turns an OCI [`Bundle`] into a [`Sandbox`]: a container, a
//! microVM, or a bare process. Everything above this crate (the command line,
//! the benchmark harness) talks to these traits only; everything below it
//! implements them. This crate knows nothing about namespaces or KVM.

#![deny(missing_docs)]

mod bundle;
mod error;
mod exit;
mod id;
pub mod memory;
mod network;
pub mod pool;
mod runtime;
mod signal;
pub mod state;
mod stdio;
mod terminal;
mod timeline;
mod usage;

pub use bundle::{Bundle, BundleError, Rootfs};
pub use error::Error;
pub use exit::{Exit, ExitStatus};
pub use id::{IdError, SandboxId};
pub use network::{Interface, PlacedFile};
pub use pool::{Claim, Pool, PoolKey};
pub use runtime::{
    Availability, Capabilities, Create, Isolation, Lifetime, Missing, Prepare, Runtime,
    Sandbox, UPPER, UPPER_ARCHIVE,
};
pub use signal::{ParseSignalError, Signal};
pub use state::{Record, StateDir, StateError, Status};
pub use stdio::Stdio;
pub use terminal::TerminalSize;
pub use timeline::{Clock, Instant, Timeline};
pub use usage::{HostProcess, KvmStats, Role, Usage};
