//! Snapshots: a machine as files, from which any number of machines go on.
//!
//! A snapshot is a directory:
//!
//! - `memory`: guest memory as it was, sparse: pages of zeroes are holes. A machine
//!   maps it copy-on-write, so that its clones share what they do not write to.
//! - `state`: everything else, and what the host must be like ([`Manifest`]), under a
//!   version and a checksum ([`format`]).
//! - `working-set`: what the first machine touched that went on ([`WorkingSet`]).
//!
//! `state` is checked at every restore. `memory`, the disk and the kernel are
//! recognised by what the filesystem says about them, and read in full only when
//! that has changed ([`KnownFile`]): reading them would cost more than all the rest
//! of a restore.

mod error;
mod file;
mod fingerprint;
pub mod format;
mod incoming;
mod manifest;
mod memory;
mod store;
mod working_set;

pub use error::SnapshotError;
pub use file::KnownFile;
pub use fingerprint::{DeviceSet, Fingerprint, Wanted};
pub use incoming::Incoming;
pub use manifest::{Manifest, Snapshot};
pub use memory::{map, populate_all, write};
pub use store::{Draft, Listed, Snapshots};
pub use working_set::WorkingSet;

/// Names of the files in a snapshot's directory.
pub mod files {
    /// Guest memory.
    pub const MEMORY: &str = "memory";
    /// Everything else.
    pub const STATE: &str = "state";
    /// What the first machine touched that went on from here.
    pub const WORKING_SET: &str = "working-set";
}

/// Unit of guest memory, bytes.
const PAGE: usize = 4096;
