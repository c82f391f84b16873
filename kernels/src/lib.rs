//! The guest kernel: its configuration, our patches, the builder, and the
//! kernels kept on this machine.
//!
//! Configuration and patches are compiled into this crate, so that an installed
//! program can build its kernel anywhere. Neither source nor binary of a kernel
//! is part of the project: the source is Debian's `linux-source-6.1` package.
//!
//! This crate knows nothing of virtual machines; it hands out a file and the
//! words that belong on its command line.

#![deny(missing_docs)]

pub mod builder;
mod catalogue;
mod flavour;
mod image;
mod inputs;

pub use catalogue::{Catalogue, CatalogueError, Kernel, Origin};
pub use flavour::{KvmFlavour, command_line};
pub use image::{Format, ImageError, KernelImage};
