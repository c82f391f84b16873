//! The workload's standard streams.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The three descriptors a workload gets as its standard streams.
///
/// A container's workload uses them directly; a microVM's monitor copies
/// between them and the guest. Either way the runtime owns them and closes its
/// own copies when the workload no longer needs them.
#[derive(Debug)]
pub struct Stdio {
    /// What the workload reads.
    pub stdin: OwnedFd,
    /// Where its output goes.
    pub stdout: OwnedFd,
    /// Where its diagnostics go.
    pub stderr: OwnedFd,
}

impl Stdio {
    /// Duplicates of the calling process's own streams.
    ///
    /// # Errors
    ///
    /// When a stream is closed or no descriptor is left.
    pub fn inherit() -> io::Result<Self> {
        Ok(Self {
            stdin: io::stdin().as_fd().try_clone_to_owned()?,
            stdout: io::stdout().as_fd().try_clone_to_owned()?,
            stderr: io::stderr().as_fd().try_clone_to_owned()?,
        })
    }

    /// All three connected to `/dev/null`.
    ///
    /// # Errors
    ///
    /// When `/dev/null` cannot be opened.
    pub fn null() -> io::Result<Self> {
        let null = File::options().read(true).write(true).open("/dev/null")?;
        Ok(Self {
            stdin: null.try_clone()?.into(),
            stdout: null.try_clone()?.into(),
            stderr: null.into(),
        })
    }

    /// Input from `/dev/null`, output and diagnostics to `output`.
    ///
    /// # Errors
    ///
    /// When `/dev/null` cannot be opened or no descriptor is left.
    pub fn output_to(output: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            stdin: File::open("/dev/null")?.into(),
            stdout: output.try_clone()?,
            stderr: output,
        })
    }
}
