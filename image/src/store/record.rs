//! What is kept of an imported image, so that running it reads two small files.

use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};

use crate::Digest;
use crate::accounts::Accounts;

/// The content of `records/<manifest digest>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Version of this format.
    pub version: u32,
    /// Digest of the manifest: the image's identity.
    pub manifest: Digest,
    /// Digest of the configuration blob.
    pub config_digest: Digest,
    /// The configuration.
    pub config: ImageConfiguration,
    /// The layer blobs, bottom first, as the manifest has them.
    pub blobs: Vec<Digest>,
    /// ChainIDs of all unpacked layers, bottom first.
    pub chain: Vec<Digest>,
    /// How many of them, counted from the top, make the tree: those below a
    /// layer whose root is opaque show nothing.
    pub visible: usize,
    /// Users and groups of the merged tree.
    pub accounts: Accounts,
    /// Bytes of all layer blobs.
    pub size_bytes: u64,
}

impl Record {
    /// Version of the format this code writes. A record of another version is
    /// not used; the image must be imported again.
    pub const VERSION: u32 = 1;

    /// Every blob the image needs in the store.
    pub fn all_blobs(&self) -> impl Iterator<Item = Digest> + '_ {
        [self.manifest, self.config_digest].into_iter().chain(self.blobs.iter().copied())
    }

    /// ChainIDs of the layers that make the tree, topmost first.
    pub fn visible_chain(&self) -> impl Iterator<Item = Digest> + '_ {
        self.chain.iter().rev().take(self.visible).copied()
    }
}
