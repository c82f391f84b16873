//! OCI image layouts (image-spec, "Image Layout").

use std::path::Path;

use oci_spec::image::{
    ANNOTATION_REF_NAME, Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType,
};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::assemble::{Parts, assemble, check_platform};
use super::source::Source;
use super::{Found, ImportError};
use crate::progress::Progress;
use crate::registry::Download;
use crate::store::{Record, Transaction};
use crate::unpack::{LimitError, UnpackError, UnpackLimits};
use crate::{Digest, Image, Platform};

/// Where containerd, and with it docker, write the whole name.
pub(crate) const ANNOTATION_CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Content of the file `oci-layout`.
pub(crate) const LAYOUT_VERSION: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// Docker's names for what OCI standardised.
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Indexes followed from one to the next.
const MAX_NESTING: usize = 4;

/// A layout being imported.
struct Layout<'a, 'r, 't> {
    source: &'a mut Source<'r>,
    transaction: &'a mut Transaction<'t>,
    limits: UnpackLimits,
    progress: &'a dyn Progress,
}

/// Imports all images of a layout.
pub(super) fn import(
    source: &mut Source<'_>,
    transaction: &mut Transaction<'_>,
    limits: UnpackLimits,
    progress: &dyn Progress,
) -> Result<Vec<Found>, ImportError> {
    let index = index_of(source, transaction)?;
    let mut layout = Layout { source, transaction, limits, progress };
    let (named, unnamed): (Vec<_>, Vec<_>) =
        index.manifests().iter().cloned().partition(|descriptor| name_of(descriptor).is_some());

    let mut found: Vec<Found> = Vec::new();
    for descriptor in named {
        let name = name_of(&descriptor);
        let manifest = layout.manifest_of(&[descriptor], 0)?;
        let digest = digest_of("the manifest", &manifest)?;
        match found.iter_mut().find(|image| image.record.manifest == digest) {
            Some(image) => image.names.extend(name),
            None => found.push(layout.image(&manifest, name)?),
        }
    }
    // Without names, what there is are the platforms of one image.
    if found.is_empty() {
        let manifest = layout.manifest_of(&unnamed, 0)?;
        found.push(layout.image(&manifest, None)?);
    }
    Ok(found)
}

/// The parts of an artifact, which are staged.
#[derive(Debug)]
pub(crate) struct ArtifactBlobs {
    pub artifact_type: String,
    pub name: Option<String>,
    pub config: Digest,
    pub layers: Vec<(MediaType, Digest)>,
}

/// Brings in the only artifact of the layout at `path`, if it is of one of these types.
pub(crate) fn artifact_in(
    path: &Path,
    types: &[&str],
    transaction: &mut Transaction<'_>,
    limits: UnpackLimits,
    progress: &dyn Progress,
) -> Result<ArtifactBlobs, ImportError> {
    let source = &mut Source::open(path, transaction, &limits, progress)?;
    let index = index_of(source, transaction)?;
    let [descriptor] = &index.manifests()[..] else {
        return Err(ImportError::SeveralImages { count: index.manifests().len() });
    };
    let mut layout = Layout { source, transaction, limits, progress };
    let manifest: ImageManifest = layout.json("the manifest", descriptor)?;
    let found = manifest.artifact_type().as_ref().map(ToString::to_string);
    let Some(artifact_type) = found.clone().filter(|found| types.contains(&found.as_str()))
    else {
        return Err(ImportError::OtherArtifact { wanted: types[0].to_owned(), found });
    };
    let config = layout.blob("the configuration", manifest.config())?;
    let mut layers = Vec::new();
    for (number, layer) in (1..).zip(manifest.layers()) {
        let digest = layout.blob(&format!("layer {number}"), layer)?;
        layers.push((layer.media_type().clone(), digest));
    }
    Ok(ArtifactBlobs { artifact_type, name: name_of(descriptor), config, layers })
}

fn index_of(
    source: &mut Source<'_>,
    transaction: &mut Transaction<'_>,
) -> Result<ImageIndex, ImportError> {
    let bytes = source
        .document("index.json", transaction)?
        .ok_or_else(|| ImportError::Missing("index.json".to_owned()))?;
    parse("index.json", &bytes)
}

/// An image that is asked for in a registry.
pub(crate) struct Pulling<'a, 'r> {
    /// Where it comes from.
    pub download: Download<'r>,
    /// Digest of what its name stands for there: a manifest or an index.
    pub top: Digest,
    /// The same, which is staged.
    pub bytes: &'a [u8],
    /// The image of a manifest, if it is here already.
    pub here: &'a dyn Fn(Digest) -> Option<Image>,
}

/// What a registry's name stands for on this machine.
pub(crate) enum Arrival {
    /// An image that has come.
    New(Box<Record>),
    /// One that is here.
    Here(Box<Image>),
}

/// Brings in the image for this machine.
pub(crate) fn from_registry(
    pulling: Pulling<'_, '_>,
    transaction: &mut Transaction<'_>,
    limits: UnpackLimits,
    progress: &dyn Progress,
) -> Result<Arrival, ImportError> {
    let Pulling { download, top, bytes, here } = pulling;
    let document: serde_json::Value = parse("the manifest", bytes)?;
    let media_type = media_type_of(&document);
    let top = json!({ "mediaType": media_type, "digest": top, "size": bytes.len() });
    let top: Descriptor = serde_json::from_value(top)
        .map_err(|source| ImportError::Json { what: "the manifest".to_owned(), source })?;
    let mut source = Source::Registry(download);
    let mut layout = Layout { source: &mut source, transaction, limits, progress };
    let manifest = layout.manifest_of(&[top], 0)?;
    let digest = digest_of("the manifest", &manifest)?;
    if let Some(image) = here(digest) {
        return Ok(Arrival::Here(Box::new(image)));
    }
    layout.image(&manifest, None).map(|found| Arrival::New(Box::new(found.record)))
}

fn name_of(descriptor: &Descriptor) -> Option<String> {
    let annotations = descriptor.annotations().as_ref()?;
    let whole = annotations.get(ANNOTATION_CONTAINERD_NAME);
    whole.or_else(|| annotations.get(ANNOTATION_REF_NAME)).cloned()
}

impl Layout<'_, '_, '_> {
    /// The one manifest for this machine, found through indexes.
    fn manifest_of(
        &mut self,
        candidates: &[Descriptor],
        depth: usize,
    ) -> Result<Descriptor, ImportError> {
        if depth > MAX_NESTING {
            return Err(ImportError::NestedTooDeep(MAX_NESTING));
        }
        let wanted = Platform::supported();
        let platform_of = |d: &Descriptor| d.platform().as_ref().map(Platform::of_descriptor);
        let chosen = candidates
            .iter()
            .find(|d| platform_of(d).as_ref() == Some(&wanted))
            // One that does not say: its configuration will.
            .or_else(|| candidates.iter().find(|d| d.platform().is_none()));
        let Some(chosen) = chosen else {
            let found = candidates.iter().filter_map(platform_of).collect();
            return Err(ImportError::WrongPlatform { wanted, found });
        };
        let media_type = chosen.media_type();
        if is_manifest(media_type) {
            Ok(chosen.clone())
        } else if is_index(media_type) {
            let index: ImageIndex = self.json("the index", chosen)?;
            self.manifest_of(index.manifests(), depth + 1)
        } else {
            Err(ImportError::MediaType {
                what: "an entry of the index".to_owned(),
                media_type: media_type.to_string(),
            })
        }
    }

    fn image(
        &mut self,
        descriptor: &Descriptor,
        name: Option<String>,
    ) -> Result<Found, ImportError> {
        let manifest: ImageManifest = self.json("the manifest", descriptor)?;
        match manifest.config().media_type() {
            MediaType::ImageConfig => {}
            MediaType::Other(other)
                if other == "application/vnd.docker.container.image.v1+json" => {}
            other => {
                return Err(ImportError::MediaType {
                    what: "the configuration".to_owned(),
                    media_type: other.to_string(),
                });
            }
        }
        let config: ImageConfiguration = self.json("the configuration", manifest.config())?;
        // Before the layers are read: they may be many.
        check_platform(&config)?;
        let mut layers = Vec::new();
        let count = manifest.layers().len();
        for (number, layer) in (1..).zip(manifest.layers()) {
            let what = format!("layer {number}");
            if layer.size() > self.limits.max_bytes {
                let limit = LimitError::Bytes(self.limits.max_bytes);
                let (digest, source) = (digest_of(&what, layer)?, UnpackError::Limit(limit));
                return Err(ImportError::Layer { number, count, digest, source });
            }
            layers.push(self.layer(&what, layer)?);
        }
        let parts = Parts {
            manifest: digest_of("the manifest", descriptor)?,
            config_digest: digest_of("the configuration", manifest.config())?,
            config,
            layers,
        };
        let assembled = assemble(parts, self.transaction, self.limits, self.progress);
        let record = self.settle(assembled)?;
        Ok(Found { record, names: name.into_iter().collect() })
    }

    /// Brings in a layer, or lets it come while those below it are unpacked.
    fn layer(&mut self, what: &str, descriptor: &Descriptor) -> Result<Digest, ImportError> {
        let Source::Registry(download) = self.source else {
            return self.blob(what, descriptor);
        };
        let digest = digest_of(what, descriptor)?;
        download.begin(digest, descriptor.size(), self.transaction)?;
        Ok(digest)
    }

    /// Waits for what is still on its way. When the image could not be assembled
    /// because something did not come, that is the reason.
    fn settle<T>(&mut self, assembled: Result<T, ImportError>) -> Result<T, ImportError> {
        let Source::Registry(download) = self.source else { return assembled };
        match assembled {
            Ok(assembled) => {
                download.finish(self.transaction)?;
                Ok(assembled)
            }
            Err(error) => Err(download.give_up().map_or(error, ImportError::from)),
        }
    }

    fn json<T: DeserializeOwned>(
        &mut self,
        what: &str,
        descriptor: &Descriptor,
    ) -> Result<T, ImportError> {
        let digest = self.blob(what, descriptor)?;
        let path = self.transaction.blob_path(digest);
        parse(what, &crate::file::read_small(&path, super::source::DOCUMENT_LIMIT)?)
    }

    /// Brings a blob in and checks it against its descriptor.
    fn blob(&mut self, what: &str, descriptor: &Descriptor) -> Result<Digest, ImportError> {
        let expected = digest_of(what, descriptor)?;
        let (found, size) = match self.transaction.blob_size(expected) {
            Some(size) => (expected, size),
            None => self
                .source
                .blob(expected, descriptor, self.transaction, self.progress)?
                .ok_or_else(|| ImportError::Missing(format!("{what} ({expected})")))?,
        };
        if found != expected {
            return Err(ImportError::WrongDigest { what: what.to_owned(), expected, found });
        }
        if size != descriptor.size() {
            let expected = descriptor.size();
            return Err(ImportError::WrongSize {
                what: what.to_owned(),
                expected,
                found: size,
            });
        }
        Ok(found)
    }
}

/// The type a manifest or index gives itself; one that gives none is what OCI describes.
pub(crate) fn media_type_of(document: &serde_json::Value) -> MediaType {
    match document["mediaType"].as_str() {
        Some(own) => MediaType::from(own),
        None if document["manifests"].is_array() => MediaType::ImageIndex,
        None => MediaType::ImageManifest,
    }
}

/// Whether this is the manifest of one image.
pub(super) fn is_manifest(media_type: &MediaType) -> bool {
    match media_type {
        MediaType::ImageManifest => true,
        other => other.as_ref() == DOCKER_MANIFEST,
    }
}

/// Whether this is a list of manifests.
pub(super) fn is_index(media_type: &MediaType) -> bool {
    match media_type {
        MediaType::ImageIndex => true,
        other => other.as_ref() == DOCKER_INDEX,
    }
}

fn digest_of(what: &str, descriptor: &Descriptor) -> Result<Digest, ImportError> {
    let bad = |source| ImportError::BadDigest { what: what.to_owned(), source };
    descriptor.digest().as_ref().parse().map_err(bad)
}

/// Parses a part of an image.
pub(super) fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, ImportError> {
    serde_json::from_slice(bytes)
        .map_err(|source| ImportError::Json { what: what.to_owned(), source })
}
