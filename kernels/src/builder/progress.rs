//! How far a build has come.

use std::fmt;

/// What the builder is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Unpacking the source; counted in bytes of the archive.
    Unpack,
    /// Applying our patches; counted in patches.
    Patch,
    /// Making and checking the configuration.
    Configure,
    /// Compiling; counted in files, the total being an estimate.
    Compile,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unpack => "unpacking the kernel source",
            Self::Patch => "patching",
            Self::Configure => "configuring",
            Self::Compile => "compiling the guest kernel",
        })
    }
}

/// Told how far a build has come.
pub trait Progress {
    /// `done` of about `total` of a stage's own units.
    fn step(&mut self, stage: Stage, done: u64, total: u64);
}
