//! Other people's runtimes behind our traits, so that they are measured in the
//! same interleaved run, by the same clock, on the same bundle.
//!
//! [`OciRuntime`] drives any program with the command line that the OCI runtimes
//! share (`create`, `start`, `kill`, `delete`, `exec`). The harness plays the part
//! of an engine such as containerd: it lays the root filesystem, writes
//! `config.json`, reaps the container's first process, and cleans up after a
//! program that crashes or hangs.

mod call;
mod cgroup;
mod error;
mod exec;
mod oci;
mod processes;
pub mod rootfs;
mod sandbox;

use bulkhead_runtime::{Error, Isolation};

pub use error::PeerError;
pub use oci::OciRuntime;
pub use processes::kill_marked;

/// What all of them are for reports: what sets them apart is their name.
const ISOLATION: Isolation = Isolation::Container;

fn wall(step: &'static str) -> impl FnOnce(PeerError) -> Error {
    move |source| Error::Wall { isolation: ISOLATION, step, source: Box::new(source) }
}
