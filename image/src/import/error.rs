//! Why an image cannot be imported.

use std::io;
use std::path::PathBuf;

use crate::compression::UnsupportedCompression;
use crate::digest::ParseDigestError;
use crate::file::FileError;
use crate::name::ParseNameError;
use crate::registry::RegistryError;
use crate::store::StoreError;
use crate::tarball::TarError;
use crate::unpack::{LimitError, UnpackError};
use crate::{Digest, Platform};

/// An image that cannot be imported. Nothing of it is left in the store.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Neither an archive nor a directory.
    #[error("{} holds no image and no root filesystem", path.display())]
    NotAnImage {
        /// The file.
        path: PathBuf,
    },
    /// A directory that is not a layout.
    #[error(
        "{0} is not an OCI layout: it has no index.json. For a root filesystem, make an archive \
         of it: `tar --xattrs -C {0} -cf rootfs.tar .`", path.display()
    )]
    PlainDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// A compression that is not supported.
    #[error("{} cannot be read", path.display())]
    Compression {
        /// The file.
        path: PathBuf,
        /// Which compression.
        #[source]
        source: UnsupportedCompression,
    },
    /// The archive is damaged.
    #[error("{} is not a proper archive", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// Where it is damaged.
        #[source]
        source: TarError,
    },
    /// The archive around the image is too large.
    #[error("{} is too large: {limit}", path.display())]
    Limit {
        /// The file.
        path: PathBuf,
        /// Which limit was reached.
        limit: LimitError,
    },
    /// A part that the image needs is not there.
    #[error("the image is incomplete: {0} is missing")]
    Missing(String),
    /// A part of the image is not the JSON it should be.
    #[error("{what} of the image cannot be understood")]
    Json {
        /// Which part.
        what: String,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// A digest that is none.
    #[error("{what} of the image has no usable digest")]
    BadDigest {
        /// Which part.
        what: String,
        /// Why not.
        #[source]
        source: ParseDigestError,
    },
    /// Content is not what its name says.
    #[error("{what} has the digest {found}, but should have {expected}")]
    WrongDigest {
        /// Which part.
        what: String,
        /// What its descriptor or name says.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// Content is not as long as its descriptor says.
    #[error("{what} has {found} bytes, but should have {expected}")]
    WrongSize {
        /// Which part.
        what: String,
        /// What its descriptor says.
        expected: u64,
        /// What it has.
        found: u64,
    },
    /// A document that is too large to be one.
    #[error("the configuration of the image, {digest}, has {size} bytes, which is too many")]
    DocumentTooLarge {
        /// Its digest.
        digest: Digest,
        /// What its descriptor says, bytes.
        size: u64,
    },
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Not a kind of content an image is made of.
    #[error("{what} is of type `{media_type}`, which is not part of a container image")]
    MediaType {
        /// Which part.
        what: String,
        /// Its type.
        media_type: String,
    },
    /// A layout of something else.
    #[error("it holds {}, not `{wanted}`", kind(found.as_deref()))]
    OtherArtifact {
        /// What was looked for.
        wanted: String,
        /// Its type, if it has one.
        found: Option<String>,
    },
    /// The image is for other machines.
    #[error("the image is for {}, not for {wanted}", list(found))]
    WrongPlatform {
        /// What this machine runs.
        wanted: Platform,
        /// What there is.
        found: Vec<Platform>,
    },
    /// Indexes inside indexes without end.
    #[error("the index of the image contains indexes nested more than {0} deep")]
    NestedTooDeep(usize),
    /// The configuration and the manifest disagree.
    #[error("the manifest has {layers} layers, the configuration {diff_ids}")]
    LayerCount {
        /// Layers in the manifest.
        layers: usize,
        /// Layers in the configuration.
        diff_ids: usize,
    },
    /// There is nothing in the image.
    #[error("the image has no layers: there is nothing in it to run")]
    NoLayers,
    /// A layer cannot be unpacked.
    #[error("layer {number} of {count} ({digest}) cannot be unpacked")]
    Layer {
        /// Counted from the bottom, from 1.
        number: usize,
        /// How many there are.
        count: usize,
        /// Digest of the blob.
        digest: Digest,
        /// Why not.
        #[source]
        source: UnpackError,
    },
    /// The accounts of the image cannot be read.
    #[error("/etc/passwd or /etc/group of the image cannot be read")]
    Accounts(#[source] io::Error),
    /// A configuration was given for an image that has one.
    #[error(
        "{} holds an image with a configuration of its own; one can be given to a root \
         filesystem only", path.display()
    )]
    HasConfig {
        /// The file.
        path: PathBuf,
    },
    /// A name was given, but not one image.
    #[error("there are {count} images in it; a name can be given to one only")]
    SeveralImages {
        /// How many there are.
        count: usize,
    },
    /// The image has no name, and none can be made from that of the file.
    #[error("{} makes no image name; give one with --name", path.display())]
    NameNeeded {
        /// The file.
        path: PathBuf,
    },
    /// The name that comes with the image is not one.
    #[error(transparent)]
    Name(#[from] ParseNameError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
}

fn kind(artifact_type: Option<&str>) -> String {
    artifact_type.map_or_else(|| "an image".to_owned(), |kind| format!("`{kind}`"))
}

fn list(platforms: &[Platform]) -> String {
    let names: Vec<_> = platforms.iter().map(ToString::to_string).collect();
    if names.is_empty() { "no platform it names".to_owned() } else { names.join(", ") }
}
