//! The unit handed to a runtime: a root filesystem and its `config.json`.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

/// An OCI bundle (runtime-spec, "Filesystem Bundle"): what to run and on what.
///
/// The root filesystem comes in the form the wall at hand can use best; the
/// tree seen from inside is the same whichever it is.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The runtime-spec configuration, `config.json`.
    pub spec: Spec,
    /// Where the root filesystem's content comes from.
    pub rootfs: Rootfs,
}

/// A read-only source of the root filesystem. Writes never reach it: each
/// sandbox gets an ephemeral writable layer of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rootfs {
    /// Unpacked layer directories for overlayfs, topmost first.
    Layers(Vec<PathBuf>),
    /// An EROFS disk: `/rootfs` holds the tree, `/init` the guest's PID 1.
    Disk(PathBuf),
}

/// A bundle that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// `config.json` lacks a section every bundle must have.
    #[error("config.json has no `{0}` section")]
    MissingSection(&'static str),
    /// The arguments of the process are empty.
    #[error("config.json names no command to run")]
    NoCommand,
    /// The wall cannot use this form of root filesystem.
    #[error("this wall needs {needed}, the bundle has {found}")]
    WrongRootfs {
        /// The form it needs.
        needed: &'static str,
        /// The form it was given.
        found: &'static str,
    },
    /// It holds something that JSON cannot: a path that is not UTF-8.
    #[error("config.json cannot be written down")]
    NotJson(#[source] serde_json::Error),
    /// A file that the root filesystem is made of is not there.
    #[error("{} is part of the root filesystem and cannot be opened", path.display())]
    RootfsMissing {
        /// The directory or disk image.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
}

impl Bundle {
    /// The process section of the configuration.
    ///
    /// # Errors
    ///
    /// [`BundleError::MissingSection`] without one, [`BundleError::NoCommand`]
    /// when it has no arguments.
    pub fn process(&self) -> Result<&oci_spec::runtime::Process, BundleError> {
        let process =
            self.spec.process().as_ref().ok_or(BundleError::MissingSection("process"))?;
        match process.args() {
            Some(args) if !args.is_empty() => Ok(process),
            _ => Err(BundleError::NoCommand),
        }
    }

    /// The Linux section of the configuration.
    ///
    /// # Errors
    ///
    /// [`BundleError::MissingSection`] without one.
    pub fn linux(&self) -> Result<&oci_spec::runtime::Linux, BundleError> {
        self.spec.linux().as_ref().ok_or(BundleError::MissingSection("linux"))
    }

    /// The layer directories, topmost first.
    ///
    /// # Errors
    ///
    /// [`BundleError::WrongRootfs`] when the root filesystem is a disk.
    pub fn layers(&self) -> Result<&[PathBuf], BundleError> {
        match &self.rootfs {
            Rootfs::Layers(layers) => Ok(layers),
            Rootfs::Disk(_) => Err(BundleError::WrongRootfs {
                needed: "layer directories",
                found: "an EROFS disk",
            }),
        }
    }

    /// The EROFS disk.
    ///
    /// # Errors
    ///
    /// [`BundleError::WrongRootfs`] when the root filesystem is layers.
    pub fn disk(&self) -> Result<&Path, BundleError> {
        match &self.rootfs {
            Rootfs::Disk(path) => Ok(path),
            Rootfs::Layers(_) => Err(BundleError::WrongRootfs {
                needed: "an EROFS disk",
                found: "layer directories",
            }),
        }
    }
}
