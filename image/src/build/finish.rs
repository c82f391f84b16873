//! From the last stage to an image in the store.

use std::fs::File;
use std::path::PathBuf;

use oci_spec::image::MediaType;
use serde_json::Value;

use super::error::BuildError;
use super::execute::Executor;
use super::stage::Stage;
use super::time;
use crate::compression::Compression;
use crate::file::FileError;
use crate::import::{BlobRef, ImportError, Parts, manifest, record};
use crate::store::{CachedStep, StoreError, Transaction};
use crate::{Digest, Image, NoProgress};

impl Executor<'_> {
    /// Makes an image of a stage and gives it its names.
    pub(super) fn finish(&self, stage: &Stage) -> Result<Image, BuildError> {
        let diff_ids: Vec<_> =
            stage.layers.iter().map(|layer| layer.diff_id.to_string()).collect();
        let created = self.created(stage, &diff_ids)?;
        let document = stage.document.finish(&diff_ids, &created);
        let bytes = document.to_string().into_bytes();
        let config = BlobRef {
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
            media_type: MediaType::ImageConfig,
        };
        let layers: Vec<_> = stage
            .layers
            .iter()
            .map(|layer| self.described_blob(layer.blob))
            .collect::<Result<_, _>>()?;
        let manifest = manifest(None, &config, &layers);
        let image = match self.store.load(Digest::of(&manifest)) {
            Ok(image) => image,
            Err(StoreError::NotFound(_)) => self.put(stage, &manifest, &bytes, document)?,
            Err(error) => return Err(error.into()),
        };
        for name in &self.options.names {
            self.store.tag(&image, name)?;
        }
        Ok(image)
    }

    /// When the image was made: the same image is not made again.
    fn created(&self, stage: &Stage, diff_ids: &[String]) -> Result<String, BuildError> {
        if let Some(epoch) = self.options.epoch {
            return Ok(time::format(epoch));
        }
        let timeless = stage.document.finish(diff_ids, "");
        let mut key = self.key(stage, "image");
        key.add(timeless.to_string());
        let key = key.finish();
        if !self.options.no_cache
            && let Some(found) = self.store.cached(key)
        {
            return Ok(found.created);
        }
        let created = time::format(self.now);
        self.store.keep_step(key, &CachedStep::new(&created, None))?;
        Ok(created)
    }

    fn described_blob(&self, digest: Digest) -> Result<BlobRef, BuildError> {
        let path = self.store.blob_path(digest);
        let mut file = File::open(&path).map_err(FileError::on("open", &path))?;
        let size = file.metadata().map_err(FileError::on("examine", &path))?.len();
        let compression =
            Compression::detect_file(&mut file).map_err(FileError::on("read", &path))?;
        let media_type = match compression {
            Ok(Compression::Gzip) => MediaType::ImageLayerGzip,
            Ok(Compression::Zstd) => MediaType::ImageLayerZstd,
            Ok(Compression::None) => MediaType::ImageLayer,
            Err(source) => return Err(ImportError::Compression { path, source }.into()),
        };
        Ok(BlobRef { digest, size, media_type })
    }

    fn put(
        &self,
        stage: &Stage,
        manifest: &[u8],
        config: &[u8],
        document: Value,
    ) -> Result<Image, BuildError> {
        let mut transaction = Transaction::begin(self.store)?;
        let config_digest = transaction.stage_bytes(config)?;
        let manifest = transaction.stage_bytes(manifest)?;
        for layer in &stage.layers {
            transaction.take_stored(layer.blob)?;
        }
        let json = |source| ImportError::Json { what: "the configuration".to_owned(), source };
        let config = serde_json::from_value(document).map_err(json)?;
        let layers = stage.layers.iter().map(|layer| layer.blob).collect();
        let parts = Parts { manifest, config_digest, config, layers };
        let chain: Vec<_> = stage.layers.iter().map(|layer| layer.chain).collect();
        let dirs: Vec<PathBuf> =
            chain.iter().rev().map(|chain| self.store.layer_path(*chain)).collect();
        let record = record(parts, chain, &dirs, &transaction)?;
        let digest = record.manifest;
        transaction.commit(&[(record, self.options.names.clone())], &NoProgress)?;
        // While the transaction keeps it from being collected.
        Ok(self.store.load(digest)?)
    }
}
