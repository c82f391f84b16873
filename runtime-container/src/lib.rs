//! The namespace container behind the [`Runtime`](bulkhead_runtime::Runtime)
//! trait.
//!
//! [`ContainerRuntime`] turns a bundle into one process behind Linux namespaces,
//! cgroups, capabilities and a seccomp filter. The work is divided so that the
//! dangerous part is small:
//!
//! - `plan/` reads the runtime spec and writes down every step as data, before
//!   anything exists;
//! - `spawn` makes the process with one `clone3`;
//! - `child/` walks the steps inside the new namespaces with raw system calls
//!   and becomes the workload;
//! - `cgroup/` limits and counts, on both cgroup versions;
//! - `seccomp/` compiles system call filters;
//! - `container` is the sandbox its owner holds.
//!
//! No process of ours stays beside the workload, and no mount is ever made in
//! the host's namespace. This crate knows nothing about images, benchmarks or
//! virtual machines.

#![deny(missing_docs)]

mod availability;
mod cgroup;
mod child;
mod container;
mod create;
mod error;
mod exec;
mod message;
mod plan;
mod runtime;
pub mod seccomp;
mod spawn;
mod step;
mod sys;
mod workload;

pub use cgroup::CgroupError;
pub use error::ContainerError;
pub use plan::SpecError;
pub use runtime::ContainerRuntime;
