//! Why a kernel could not be built.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use crate::catalogue::CatalogueError;

/// Failure to build the kernel.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The source package is not installed.
    #[error(
        "the kernel source {} is missing: run `apt-get install linux-source-6.1`",
        path.display()
    )]
    NoSource {
        /// Where the package puts it.
        path: PathBuf,
    },
    /// The source archive could not be read.
    #[error("cannot read the kernel source {}", path.display())]
    ReadSource {
        /// The archive.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A program the build needs is not installed.
    #[error("`{program}` is missing: run `apt-get install {package}`")]
    NoTool {
        /// The program.
        program: String,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// A program could not be run or talked to.
    #[error("cannot run `{program}`")]
    Spawn {
        /// The program.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A program failed.
    #[error("`{command}` failed ({status}); its last lines:\n{last_lines}")]
    Failed {
        /// Its command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its output.
        last_lines: String,
    },
    /// One of our patches does not fit this source.
    #[error("cannot apply {name} to this version of the kernel source")]
    Patch {
        /// Name of the patch.
        name: &'static str,
        /// What `patch` said.
        #[source]
        source: Box<Self>,
    },
    /// Options were dropped because what they depend on is off.
    #[error("the configuration lost these options: {}", .0.join(" "))]
    OptionsLost(Vec<String>),
    /// The kernel could not be kept.
    #[error("cannot keep the kernel")]
    Catalogue(#[from] CatalogueError),
}
