//! What goes wrong with a registry.

use std::io;

use oci_client::errors::{OciDistributionError, OciErrorCode};

use super::CredentialsError;
use crate::Digest;
use crate::file::FileError;

/// A registry that does not do what it is asked for.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The user's credentials cannot be had.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The registry wants to know who asks, or does not let whoever asks do that.
    #[error(
        "{registry} refuses: it wants a login (`bulkhead login`), or has no such image and does not \
         say so"
    )]
    Unauthorized {
        /// The registry, or the address within it.
        registry: String,
    },
    /// There is no such image or blob.
    #[error("{of} has no such image")]
    NotFound {
        /// The registry, or what was asked for.
        of: String,
    },
    /// A request failed.
    #[error("cannot {action} {of}")]
    Request {
        /// What was being done.
        action: &'static str,
        /// With what.
        of: String,
        /// What the registry or the network said.
        #[source]
        source: Box<OciDistributionError>,
    },
    /// A transfer broke off, time and again.
    #[error("the transfer of {blob} breaks off, {attempts} times in a row")]
    BrokenOff {
        /// The blob.
        blob: Digest,
        /// How often it was begun without getting any further.
        attempts: u32,
        /// What the network said last.
        #[source]
        source: io::Error,
    },
    /// What came is not what was asked for.
    #[error("the registry gave something else than {expected}: it has the digest {found}")]
    WrongDigest {
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// There is more of it than there should be, or less.
    #[error("the registry gave {found} bytes of {blob}, which has {expected}")]
    WrongSize {
        /// The blob.
        blob: Digest,
        /// What its descriptor says.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// The image's manifest is of a type that no registry can be told.
    #[error("the manifest says it is of the type `{media_type}`, which is none")]
    MediaType {
        /// What it says.
        media_type: String,
    },
    /// No threads for the network.
    #[error("cannot start the threads that speak with the registry")]
    Threads(#[source] io::Error),
    /// A transfer ended in an unforeseen way: a bug.
    #[error("the transfer of {0} ended in an unforeseen way")]
    Lost(Digest),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl RegistryError {
    /// Turns what the client says into an error that says with what.
    pub(super) fn request(
        action: &'static str,
        of: &str,
    ) -> impl FnOnce(OciDistributionError) -> Self {
        let of = of.to_owned();
        move |source| match source {
            OciDistributionError::RequestError(ref error)
                if error
                    .status()
                    .is_some_and(|status| matches!(status.as_u16(), 401 | 403)) =>
            {
                Self::Unauthorized { registry: of }
            }
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_) => {
                Self::Unauthorized { registry: of }
            }
            OciDistributionError::ImageManifestNotFoundError(_)
            | OciDistributionError::ServerError { code: 404, .. } => Self::NotFound { of },
            OciDistributionError::RegistryError { ref envelope, .. } => {
                let code = envelope.errors.first().map(|error| &error.code);
                match code {
                    Some(OciErrorCode::Denied | OciErrorCode::Unauthorized) => {
                        Self::Unauthorized { registry: of }
                    }
                    Some(
                        OciErrorCode::ManifestUnknown
                        | OciErrorCode::NameUnknown
                        | OciErrorCode::BlobUnknown
                        | OciErrorCode::NotFound,
                    ) => Self::NotFound { of },
                    _ => Self::Request { action, of, source: Box::new(source) },
                }
            }
            source => Self::Request { action, of, source: Box::new(source) },
        }
    }

    /// Whether asking again may help.
    pub(super) fn is_passing(&self) -> bool {
        let Self::Request { source, .. } = self else { return false };
        match &**source {
            OciDistributionError::RequestError(error) => {
                error.status().is_none_or(|status| may_pass(status.as_u16()))
            }
            OciDistributionError::IoError(_) => true,
            OciDistributionError::ServerError { code, .. } => may_pass(*code),
            _ => false,
        }
    }
}

/// Whether what an HTTP status says may be over soon.
fn may_pass(status: u16) -> bool {
    status == 429 || status >= 500
}
