//! Bringing images in from registries.

use oci_client::RegistryOperation;
use oci_client::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE,
};

use super::{Download, Registry, RegistryError, RemoteRef};
use crate::import::{Arrival, ImportError, Pulling, from_registry};
use crate::progress::Progress;
use crate::store::{Store, Transaction};
use crate::unpack::UnpackLimits;
use crate::{Digest, Image};

/// What manifests and indexes are asked for as.
const MANIFESTS: [&str; 4] = [
    OCI_IMAGE_MEDIA_TYPE,
    IMAGE_MANIFEST_MEDIA_TYPE,
    OCI_IMAGE_INDEX_MEDIA_TYPE,
    IMAGE_MANIFEST_LIST_MEDIA_TYPE,
];

/// What came of a pull.
#[derive(Debug)]
pub struct Pulled {
    /// The image.
    pub image: Image,
    /// Whether it was not here before.
    pub new: bool,
}

impl Store {
    /// Brings in the image for this platform and gives it its name. Blobs and layers
    /// that are here already are not asked for again; what an earlier attempt has got
    /// of a blob is gone on with.
    ///
    /// # Errors
    ///
    /// [`ImportError`]; no part of the image is visible then.
    pub fn pull(
        &self,
        image: &RemoteRef,
        registry: &Registry,
        limits: UnpackLimits,
        progress: &dyn Progress,
    ) -> Result<Pulled, ImportError> {
        registry.authenticate(RegistryOperation::Pull)?;
        let bytes = registry.manifest(image.digest())?;
        let mut transaction = Transaction::begin(self)?;
        let pulling = Pulling {
            download: Download::from(registry),
            top: transaction.stage_bytes(&bytes)?,
            bytes: &bytes,
            here: &|digest| self.load(digest).ok(),
        };
        let name = image.name();
        match from_registry(pulling, &mut transaction, limits, progress)? {
            Arrival::New(record) => {
                let digest = record.manifest;
                transaction.commit(&[(*record, vec![name.clone()])], progress)?;
                Ok(Pulled { image: self.load(digest)?, new: true })
            }
            Arrival::Here(image) => {
                self.tag(&image, name)?;
                Ok(Pulled { image: *image, new: false })
            }
        }
    }
}

impl Registry {
    /// Gets a manifest or index: the one of this digest, or the one the name stands
    /// for.
    pub(super) fn manifest(&self, digest: Option<Digest>) -> Result<Vec<u8>, RegistryError> {
        let remote = &self.remote;
        let of = match digest {
            Some(digest) => remote.image.clone_with_digest(digest.to_string()),
            None => remote.image.clone(),
        };
        let answer = remote.client.pull_manifest_raw(&of, &remote.auth, &MANIFESTS);
        let (bytes, _) = self.ask("get the manifest from", answer)?;
        match (digest, Digest::of(&bytes)) {
            (Some(expected), found) if expected != found => {
                Err(RegistryError::WrongDigest { expected, found })
            }
            _ => Ok(bytes.into()),
        }
    }
}
