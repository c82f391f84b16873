//! Writing images out of the store, as one archive in two formats at once.
//!
//! The archive is an OCI image layout (image-spec, "Image Layout") and has the
//! `manifest.json` of `docker save` beside the index, as docker has written its own
//! since version 25: whatever reads either of them reads it. Blobs are written as they
//! were brought in, so digests stay what they were. The same images make the same
//! archive: there is no date in it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};

use oci_spec::image::{ANNOTATION_REF_NAME, MediaType};
use serde_json::{Value, json};

use crate::file::{FileError, read_small};
use crate::import::{ANNOTATION_CONTAINERD_NAME, DOCUMENT_LIMIT};
use crate::progress::{Progress, Stage};
use crate::store::Store;
use crate::{Digest, Image, ImageRef};

/// An image that cannot be written out.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// A blob of the image cannot be read.
    #[error(transparent)]
    Blob(#[from] FileError),
    /// The archive cannot be written.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
}

/// An image to write out.
#[derive(Debug)]
pub struct Saved<'a> {
    /// The image.
    pub image: &'a Image,
    /// The name it is to have in the archive; without one it is found by its digest only.
    pub name: Option<&'a ImageRef>,
}

impl Store {
    /// Writes images to `to` as one archive. Layers that several of them have are
    /// written once.
    ///
    /// # Errors
    ///
    /// [`SaveError`]; what was written until then is no archive.
    pub fn save(
        &self,
        images: &[Saved<'_>],
        to: &mut dyn Write,
        progress: &dyn Progress,
    ) -> Result<(), SaveError> {
        let blobs: BTreeSet<_> =
            images.iter().flat_map(|saved| saved.image.record().all_blobs()).collect();
        let mut archive = tar::Builder::new(to);
        append(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        for digest in blobs {
            let path = self.blob_path(digest);
            let mut file = File::open(&path).map_err(FileError::on("open", &path))?;
            let size = file.metadata().map_err(FileError::on("examine", &path))?.len();
            progress.begin(Stage::Copy, Some(size));
            let counted = Counted { inner: &mut file, progress };
            entry(&mut archive, &blob_name(digest), size, counted)?;
        }
        let index = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::ImageIndex,
            "manifests": images.iter().map(|saved| self.descriptor(saved)).collect::<Result<Vec<_>, _>>()?,
        });
        append(&mut archive, "index.json", index.to_string().as_bytes())?;
        let docker: Vec<_> = images.iter().map(of_docker).collect();
        append(&mut archive, "manifest.json", Value::from(docker).to_string().as_bytes())?;
        archive.into_inner().and_then(Write::flush).map_err(SaveError::Write)
    }

    /// The media type a manifest gives itself; one that gives none is OCI's.
    pub(crate) fn manifest(&self, image: &Image) -> Result<(String, Vec<u8>), FileError> {
        let bytes = read_small(&self.blob_path(image.digest()), DOCUMENT_LIMIT)?;
        let parsed: Option<Value> = serde_json::from_slice(&bytes).ok();
        let own = parsed.as_ref().and_then(|manifest| manifest["mediaType"].as_str());
        let media_type =
            own.map_or_else(|| MediaType::ImageManifest.to_string(), str::to_owned);
        Ok((media_type, bytes))
    }

    fn descriptor(&self, saved: &Saved<'_>) -> Result<Value, FileError> {
        let (media_type, bytes) = self.manifest(saved.image)?;
        let mut descriptor = json!({
            "mediaType": media_type,
            "digest": saved.image.digest(),
            "size": bytes.len(),
            "platform": { "architecture": "amd64", "os": "linux" },
        });
        if let Some(name) = saved.name {
            descriptor["annotations"] = json!({
                ANNOTATION_CONTAINERD_NAME: name.qualified(),
                ANNOTATION_REF_NAME: name.tag(),
            });
        }
        Ok(descriptor)
    }
}

/// An element of `docker save`'s `manifest.json`.
fn of_docker(saved: &Saved<'_>) -> Value {
    let layers: Vec<_> =
        saved.image.layer_blobs().iter().map(|blob| blob_name(*blob)).collect();
    json!({
        "Config": blob_name(saved.image.config_digest()),
        "RepoTags": saved.name.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "Layers": layers,
    })
}

/// Where a blob is in a layout.
fn blob_name(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn append(
    archive: &mut tar::Builder<&mut dyn Write>,
    name: &str,
    content: &[u8],
) -> Result<(), SaveError> {
    entry(archive, name, content.len() as u64, content)
}

fn entry(
    archive: &mut tar::Builder<&mut dyn Write>,
    name: &str,
    size: u64,
    content: impl Read,
) -> Result<(), SaveError> {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    archive.append_data(&mut header, name, content).map_err(SaveError::Write)
}

/// Tells how far reading has come.
struct Counted<'a> {
    inner: &'a mut File,
    progress: &'a dyn Progress,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.progress.advance(n as u64);
        Ok(n)
    }
}
