//! OCI images: import, store, unpack, and the two forms of root filesystem made
//! of them.
//!
//! An image is imported once ([`Store::import`]): every digest is checked, the
//! layers are unpacked for overlayfs, and what running it needs is written to
//! one small record. From then on [`Store::resolve`] finds it in microseconds.
//! [`Image::layers`] and [`Store::disk`] give the same tree to either wall, and
//! [`spec`] makes the one `config.json` both of them run.
//!
//! This crate knows nothing of containers, virtual machines or terminals.

#![deny(missing_docs)]

mod accounts;
mod artifact;
pub mod build;
pub mod builtin;
mod compression;
mod digest;
mod disk;
mod file;
mod image;
mod import;
mod merged;
mod name;
mod overlay;
mod platform;
mod progress;
pub mod registry;
mod save;
pub mod spec;
mod store;
mod tarball;
mod tree;
mod unpack;
pub mod volume;

pub use accounts::{Account, Accounts, Group};
pub use artifact::{Artifact, NewArtifact};
pub use compression::UnsupportedCompression;
pub use digest::{Digest, ParseDigestError};
pub use disk::{DiskError, DiskLayout, StagingStep, make_disk};
pub use file::FileError;
pub use image::Image;
pub use import::{Format, ImportError, ImportOptions, Imported, RootfsConfig};
pub use name::{ImageRef, ParseNameError};
pub use platform::Platform;
pub use progress::{NoProgress, Progress, Stage};
pub use save::{SaveError, Saved};
pub use store::{Garbage, ImageUsage, Listed, Store, StoreError, Usage};
pub use tarball::TarError;
pub use unpack::{
    EntryError, LimitError, PathError, Unpack, UnpackError, UnpackLimits, Unpacked,
};
