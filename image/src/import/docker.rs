//! Archives of `docker save` before docker 25, which have no OCI index.
//!
//! `manifest.json` lists the images: the file of each one's configuration, its
//! tags, and the files of its layers. There is no manifest in the sense of OCI,
//! so one is made, which gives the image its identity here.

use oci_spec::image::{ImageConfiguration, MediaType};
use serde::Deserialize;

use super::assemble::{Parts, assemble, check_platform};
use super::generate::{BlobRef, manifest};
use super::layout::parse;
use super::source::Source;
use super::{Found, ImportError};
use crate::Digest;
use crate::compression::Compression;
use crate::file::{FileError, read_small};
use crate::progress::Progress;
use crate::store::Transaction;
use crate::unpack::UnpackLimits;

/// An element of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Imports all images of an archive.
pub(super) fn import(
    source: &mut Source<'_>,
    transaction: &mut Transaction<'_>,
    limits: UnpackLimits,
    progress: &dyn Progress,
) -> Result<Vec<Found>, ImportError> {
    let bytes = source
        .document("manifest.json", transaction)?
        .ok_or_else(|| ImportError::Missing("manifest.json".to_owned()))?;
    let images: Vec<Saved> = parse("manifest.json", &bytes)?;
    if images.is_empty() {
        return Err(ImportError::Missing("an image in manifest.json".to_owned()));
    }
    images.into_iter().map(|image| one(image, source, transaction, limits, progress)).collect()
}

fn one(
    image: Saved,
    source: &mut Source<'_>,
    transaction: &mut Transaction<'_>,
    limits: UnpackLimits,
    progress: &dyn Progress,
) -> Result<Found, ImportError> {
    let config = stage(source, &image.config, transaction, progress)?;
    check_name("the configuration", &image.config, config.digest)?;
    let path = transaction.blob_path(config.digest);
    let document = read_small(&path, super::source::DOCUMENT_LIMIT)?;
    let configuration: ImageConfiguration = parse("the configuration", &document)?;
    check_platform(&configuration)?;
    let mut layers = Vec::new();
    for name in &image.layers {
        let layer = stage(source, name, transaction, progress)?;
        check_name("a layer", name, layer.digest)?;
        layers.push(layer);
    }
    let config = BlobRef { media_type: MediaType::ImageConfig, ..config };
    let manifest = transaction.stage_bytes(&manifest(None, &config, &layers))?;
    let parts = Parts {
        manifest,
        config_digest: config.digest,
        config: configuration,
        layers: layers.iter().map(|layer| layer.digest).collect(),
    };
    let record = assemble(parts, transaction, limits, progress)?;
    Ok(Found { record, names: image.repo_tags.unwrap_or_default() })
}

fn stage(
    source: &mut Source<'_>,
    name: &str,
    transaction: &mut Transaction<'_>,
    progress: &dyn Progress,
) -> Result<BlobRef, ImportError> {
    let (digest, size) = source
        .stage(name, transaction, progress)?
        .ok_or_else(|| ImportError::Missing(name.to_owned()))?;
    let path = transaction.blob_path(digest);
    let mut file = std::fs::File::open(&path).map_err(FileError::on("open", &path))?;
    let media_type = match Compression::detect_file(&mut file) {
        Ok(Ok(Compression::Gzip)) => MediaType::ImageLayerGzip,
        Ok(Ok(Compression::Zstd)) => MediaType::ImageLayerZstd,
        // Anything else is for unpacking to refuse.
        _ => MediaType::ImageLayer,
    };
    Ok(BlobRef { digest, size, media_type })
}

/// Where the name of a file contains a digest, the content must have it. The
/// directories of legacy layers have other ids for names.
fn check_name(what: &str, name: &str, found: Digest) -> Result<(), ImportError> {
    let file = name.rsplit('/').next().unwrap_or(name);
    let digits = file.strip_suffix(".json").unwrap_or(file);
    match Digest::from_hex(digits) {
        Ok(expected) if expected != found => {
            Err(ImportError::WrongDigest { what: what.to_owned(), expected, found })
        }
        _ => Ok(()),
    }
}
