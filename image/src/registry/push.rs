//! Sending images to registries.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use oci_client::RegistryOperation;
use oci_client::errors::OciDistributionError;

use super::download::{ATTEMPTS, PAUSE};
use super::{AT_ONCE, Registry, RegistryError, Remote};
use crate::file::FileError;
use crate::store::Store;
use crate::{Digest, Image};

/// Bytes sent at once.
const PIECE: usize = 256 * 1024;

impl Store {
    /// Sends an image, as it was brought in: its digest is the same there. What the
    /// registry has already is not sent.
    ///
    /// # Errors
    ///
    /// [`RegistryError`]. The image is named there only when all of it is there.
    pub fn push(&self, image: &Image, registry: &Registry) -> Result<(), RegistryError> {
        registry.authenticate(RegistryOperation::Push)?;
        let remote = &registry.remote;
        let (media_type, manifest) = self.manifest(image)?;
        let media_type = media_type.to_string();
        let mut blobs: Vec<Digest> = image.layer_blobs().to_vec();
        blobs.push(image.config_digest());
        blobs.sort();
        blobs.dedup();
        let sending = stream::iter(blobs)
            .map(|digest| remote.send(self, digest))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>();
        registry.runtime.block_on(sending)?;
        let Ok(media_type) = media_type.parse() else {
            // Not even text: what it says it is will be found out to be wrong there.
            return Err(RegistryError::MediaType { media_type });
        };
        let answer = remote.client.push_manifest_raw(&remote.image, manifest, media_type);
        registry.ask("send the manifest to", answer).map(drop)
    }
}

impl Remote {
    async fn send(
        self: &Arc<Self>,
        store: &Store,
        digest: Digest,
    ) -> Result<(), RegistryError> {
        let path = store.blob_path(digest);
        let size = std::fs::metadata(&path).map_err(FileError::on("examine", &path))?.len();
        self.transfers.begin(digest, size, 0);
        let registry = self.image.resolve_registry();
        let name = digest.to_string();
        let (mut attempts, mut pause) = (0, PAUSE);
        let there = |error| RegistryError::request("ask for a blob in", registry)(error);
        let sent = |error| RegistryError::request("send a blob to", registry)(error);
        loop {
            let outcome = match self.client.blob_exists(&self.image, &name).await {
                Ok(true) => Ok(()),
                Ok(false) => {
                    let file = File::open(&path).map_err(FileError::on("open", &path))?;
                    let content = content(self.clone(), digest, file);
                    let sending =
                        self.client.push_blob_stream(&self.image, content, &name, Some(size));
                    sending.await.map(drop).map_err(sent)
                }
                Err(error) => Err(there(error)),
            };
            attempts += 1;
            match outcome {
                Ok(()) => break,
                Err(error) if attempts == ATTEMPTS || !error.is_passing() => return Err(error),
                Err(_) => {}
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.transfers.end(digest);
        Ok(())
    }
}

/// What is in a file, in pieces.
fn content<B: From<Vec<u8>>>(
    remote: Arc<Remote>,
    digest: Digest,
    file: File,
) -> impl Stream<Item = Result<B, OciDistributionError>> {
    stream::try_unfold((file, 0), move |(mut file, position)| {
        let remote = remote.clone();
        async move {
            let mut piece = Vec::with_capacity(PIECE);
            let n = Read::by_ref(&mut file).take(PIECE as u64).read_to_end(&mut piece)?;
            if n == 0 {
                return Ok(None);
            }
            let position = position + n as u64;
            remote.transfers.at(digest, position);
            Ok(Some((piece.into(), (file, position))))
        }
    })
}
