//! Making an image out of one layer and a few settings.

use std::fs::File;

use oci_spec::image::{ImageConfiguration, MediaType};
use serde_json::json;

use super::ImportError;
use super::assemble::{Parts, record};
use super::layout::parse;
use super::rootfs::RootfsConfig;
use crate::Digest;
use crate::compression::Compression;
use crate::file::FileError;
use crate::progress::{Progress, Stage};
use crate::store::{Record, Transaction};
use crate::unpack::{Unpack, UnpackLimits};

/// A blob as a manifest refers to it.
#[derive(Debug, Clone)]
pub(crate) struct BlobRef {
    pub digest: Digest,
    pub size: u64,
    pub media_type: MediaType,
}

/// What to make an image of.
#[derive(Debug)]
pub(crate) struct Generate<'a> {
    /// The layer: a staged blob.
    pub layer: Digest,
    pub config: &'a RootfsConfig,
    pub limits: UnpackLimits,
}

/// Unpacks the layer and makes configuration and manifest. The same layer and
/// settings make the same image: there is no date in it.
pub(crate) fn generate(
    what: &Generate<'_>,
    transaction: &mut Transaction<'_>,
    progress: &dyn Progress,
) -> Result<Record, ImportError> {
    let size = transaction.blob_size(what.layer).unwrap_or_default();
    let blob = transaction.blob_path(what.layer);
    let mut file = File::open(&blob).map_err(FileError::on("open", &blob))?;
    let compression = Compression::detect_file(&mut file)
        .map_err(FileError::on("read", &blob))?
        .map_err(|source| ImportError::Compression { path: blob.clone(), source })?;
    progress.begin(Stage::Unpack, Some(size));
    let unnamed = transaction.unnamed_layer()?;
    let unpack = Unpack { target: &unnamed, below: &[], diff_id: None, limits: what.limits };
    let digest = what.layer;
    let unpacked = unpack.run(file, progress).map_err(|source| ImportError::Layer {
        number: 1,
        count: 1,
        digest,
        source,
    })?;
    let dir = transaction.name_layer(&unnamed, unpacked.diff_id)?;

    let document = configuration(what.config, unpacked.diff_id);
    let config: ImageConfiguration = parse("the configuration", &document)?;
    let config_digest = transaction.stage_bytes(&document)?;
    let config_ref = BlobRef {
        digest: config_digest,
        size: document.len() as u64,
        media_type: MediaType::ImageConfig,
    };
    let media_type = match compression {
        Compression::None => MediaType::ImageLayer,
        Compression::Gzip => MediaType::ImageLayerGzip,
        Compression::Zstd => MediaType::ImageLayerZstd,
    };
    let manifest = manifest(None, &config_ref, &[BlobRef { digest, size, media_type }]);
    let manifest = transaction.stage_bytes(&manifest)?;
    let parts = Parts { manifest, config_digest, config, layers: vec![digest] };
    record(parts, vec![unpacked.diff_id], &[dir], transaction)
}

/// An image manifest (image-spec, "Image Manifest"), or that of an artifact.
pub(crate) fn manifest(
    artifact_type: Option<&str>,
    config: &BlobRef,
    layers: &[BlobRef],
) -> Vec<u8> {
    let descriptor = |blob: &BlobRef| json!({ "mediaType": blob.media_type, "digest": blob.digest, "size": blob.size });
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::ImageManifest,
        "config": descriptor(config),
        "layers": layers.iter().map(descriptor).collect::<Vec<_>>(),
    });
    if let Some(artifact_type) = artifact_type {
        manifest["artifactType"] = artifact_type.into();
    }
    manifest.to_string().into_bytes()
}

/// An image configuration (image-spec, "Image Configuration").
fn configuration(config: &RootfsConfig, diff_id: Digest) -> Vec<u8> {
    let mut settings = serde_json::Map::new();
    let mut set = |key: &str, value: Option<serde_json::Value>| {
        settings.extend(value.map(|value| (key.to_owned(), value)));
    };
    let list = |list: &[String]| (!list.is_empty()).then(|| json!(list));
    set("User", config.user.as_ref().map(|user| json!(user)));
    set("Env", list(&config.env));
    set("Entrypoint", list(&config.entrypoint));
    set("Cmd", list(&config.cmd));
    set("WorkingDir", config.working_dir.as_ref().map(|dir| json!(dir)));
    set("Labels", (!config.labels.is_empty()).then(|| json!(config.labels)));
    set("StopSignal", config.stop_signal.as_ref().map(|signal| json!(signal)));
    let configuration = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": settings,
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
    });
    configuration.to_string().into_bytes()
}
