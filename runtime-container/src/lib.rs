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
//! - `container` is the sandbox its owner holds;
//! - `prepared` makes all of a container but its command ahead of the request.
//!
//! No process of ours stays beside the workload, but for the parent of one that was
//! prepared ahead, and no mount is ever made in
//! the host's namespace. This crate knows nothing about images, benchmarks or
//! virtual machines.
//!
//! # What this wall does not keep out
//!
//! - Flaws of the kernel: workload and host share it.
//! - Side channels of shared caches and memory.
//! - Without a user namespace, root inside is root outside but for its
//!   capabilities, and nothing but those and the filter stands between it and
//!   what a volume shows it.
//! - An image can name `/proc/self/exe` as its interpreter and so get hold of
//!   the program that made the container, for writing if it is root's and no
//!   longer runs (as in CVE-2019-5736). While an attached container lives, its
//!   creator runs and the kernel refuses the write; for detached containers of
//!   images you do not trust, use a user namespace or keep the program on a
//!   read-only filesystem.
//!
//! Also not done: 32-bit system calls (they end the process), network beyond
//! loopback, checkpoint and restore, hooks, security labels.

#![deny(missing_docs)]

mod availability;
mod brief;
mod cgroup;
mod child;
mod container;
mod create;
mod error;
mod exec;
mod inherit;
mod message;
mod plan;
mod prepared;
mod runtime;
pub mod seccomp;
mod spawn;
mod step;
mod sys;
mod terminal;
mod workload;

pub use cgroup::CgroupError;
pub use error::ContainerError;
pub use plan::{SpecError, capability_number};
pub use runtime::ContainerRuntime;
