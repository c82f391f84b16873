//! Why an image cannot be built.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;

use super::add::AddError;
use super::changes::ChangesError;
use super::copy::CopyError;
use super::expand::ExpandError;
use super::glob::GlobError;
use super::parse::SyntaxError;
use super::source::Place;
use crate::file::FileError;
use crate::import::ImportError;
use crate::spec::SpecError;
use crate::store::StoreError;
use crate::unpack::UnpackError;

/// What somebody else says went wrong.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// An image that cannot be built. The steps before are in the cache.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The context is no directory that can be read.
    #[error("cannot use {} as the build context", path.display())]
    Context {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The Dockerfile or `.dockerignore` cannot be read.
    #[error("cannot read {}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// There is no Dockerfile.
    #[error("{} has neither a Dockerfile nor a Containerfile; name one with -f", .0.display())]
    NoDockerfile(PathBuf),
    /// The Dockerfile is none.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// A line of the `.dockerignore` is no pattern.
    #[error("{} cannot be understood", path.display())]
    Ignore {
        /// The file.
        path: PathBuf,
        /// Which pattern, and why.
        #[source]
        source: GlobError,
    },
    /// No stage has the name that was asked for.
    #[error("there is no stage `{0}` to build")]
    NoStage(String),
    /// A step failed.
    #[error("{place}: {instruction}")]
    Step {
        /// Where it is.
        place: Place,
        /// What it is.
        instruction: String,
        /// Why it failed.
        #[source]
        source: Box<StepError>,
    },
    /// The image cannot be put together.
    #[error(transparent)]
    Image(#[from] ImportError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// It was asked to stop.
    #[error("the build was interrupted")]
    Interrupted,
}

/// A step that failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Variables or quotes.
    #[error(transparent)]
    Expand(#[from] ExpandError),
    /// An option that is not known, or not supported.
    #[error("the option --{0} is not supported")]
    Flag(String),
    /// A value that makes no sense.
    #[error("`{value}` is not {what}")]
    Value {
        /// What it should be.
        what: &'static str,
        /// What it is.
        value: String,
    },
    /// A feature that is not there.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// The base image cannot be had.
    #[error("the base image `{name}` cannot be had")]
    Base {
        /// Its name.
        name: String,
        /// Why not.
        #[source]
        source: Cause,
    },
    /// A stage to copy from that comes later, or the same.
    #[error("`{0}` is not a stage before this one")]
    LaterStage(String),
    /// A platform that cannot be built for.
    #[error("images can be built for linux/amd64 only, not for `{0}`")]
    Platform(String),
    /// There is nothing to run a command in.
    #[error("there are no files yet to run a command in: copy some first")]
    NothingToRun,
    /// A command failed.
    #[error("the command ended with exit code {0}")]
    Command(u8),
    /// A command could not be run.
    #[error("the command cannot be run")]
    Run(#[source] Cause),
    /// What a command has changed cannot be read.
    #[error("what the command has changed cannot be taken over")]
    Changes(#[from] ChangesError),
    /// Something cannot be copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// Something cannot be added.
    #[error(transparent)]
    Add(#[from] AddError),
    /// A user or group that is not known.
    #[error(transparent)]
    User(#[from] SpecError),
    /// The layer cannot be written.
    #[error("cannot write `{path}` to the layer")]
    Write {
        /// Which file.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The layer cannot be unpacked.
    #[error("the layer cannot be unpacked")]
    Unpack(#[from] UnpackError),
    /// The files of the image so far cannot be read.
    #[error("the files of the image cannot be read")]
    Files(#[source] io::Error),
    /// A trigger of the base image is no instruction.
    #[error("a trigger of the base image is not an instruction")]
    Trigger(#[source] SyntaxError),
    /// The configuration of the base image cannot be read.
    #[error("the configuration of the base image cannot be read")]
    Configuration(#[source] serde_json::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// It was asked to stop.
    #[error("it was interrupted")]
    Interrupted,
}
