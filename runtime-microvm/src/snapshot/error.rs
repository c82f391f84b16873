//! Why a snapshot cannot be made or used.

use std::io;
use std::path::{Path, PathBuf};

use bulkhead_kernels::KvmFlavour;

use super::DeviceSet;
use super::format::FormatError;

/// Failure to make, find or use a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// There is none of that name.
    #[error("no snapshot called {0}")]
    NotFound(String),
    /// The name is taken.
    #[error("a snapshot called {0} exists already")]
    Exists(String),
    /// Not a name a snapshot can have.
    #[error("`{0}` is no name for a snapshot: letters, digits, `.`, `_` and `-`")]
    Name(String),
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done: `create`, `read`, …
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The state's file is not one that this version has written.
    #[error("cannot use {}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: FormatError,
    },
    /// The state cannot be written down.
    #[error("cannot encode the state of the machine")]
    Encode(#[source] postcard::Error),
    /// A file is not the one the machine was saved with.
    #[error("{} is not the {what} the snapshot was made with", path.display())]
    OtherFile {
        /// What it is to the machine: `disk`, `guest kernel`, …
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A file the machine cannot do without is not here.
    #[error(
        "the snapshot needs the {what} it was made with, which is not here: {} there, of \
         content {digest}", was.display()
    )]
    Needs {
        /// What it is to the machine: `disk`, `guest kernel`.
        what: &'static str,
        /// Where it was.
        was: PathBuf,
        /// Its content's digest.
        digest: String,
    },
    /// The memory's file is damaged.
    #[error("{} is damaged: its content is not what was saved", path.display())]
    MemoryDamaged {
        /// The file.
        path: PathBuf,
    },
    /// The machine was saved under another KVM.
    #[error("the snapshot was made under {was}, this host has {is}")]
    OtherFlavour {
        /// Which.
        was: KvmFlavour,
        /// Which is here.
        is: KvmFlavour,
    },
    /// The machine has another size.
    #[error("the snapshot's machine has {was} MiB of memory, {is} MiB are asked for")]
    OtherMemory {
        /// Its size.
        was: u32,
        /// What is asked for.
        is: u32,
    },
    /// The guest speaks another version of the protocol.
    #[error("the snapshot's guest speaks version {was} of the protocol, this is version {is}")]
    OtherProtocol {
        /// What it speaks.
        was: u32,
        /// What we speak.
        is: u32,
    },
    /// The kernel was booted with other parameters.
    #[error("the snapshot's kernel was booted with `{was}`, `{is}` is asked for")]
    OtherCommandLine {
        /// Its parameters.
        was: String,
        /// What is asked for.
        is: String,
    },
    /// The machine has other devices.
    #[error("the snapshot's machine has {was}, {is} are asked for")]
    OtherDevices {
        /// Its devices.
        was: DeviceSet,
        /// What is asked for.
        is: DeviceSet,
    },
    /// Guest memory cannot be mapped.
    #[error("cannot map the guest memory in {}", path.display())]
    Map {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: vm_memory::mmap::MmapRegionError,
    },
    /// The pieces of guest memory do not fit together.
    #[error("{} holds no guest memory", path.display())]
    Layout {
        /// The file.
        path: PathBuf,
    },
}

/// Adapts an I/O error.
pub(super) fn io_error(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> SnapshotError {
    let path = path.to_owned();
    move |source| SnapshotError::Io { action, path, source }
}
