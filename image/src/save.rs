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
use crate::import::{
    ANNOTATION_CONTAINERD_NAME, DOCUMENT_LIMIT, LAYOUT_VERSION, media_type_of,
};
use crate::progress::{Progress, Stage, Watched};
use crate::store::Store;
use crate::{Image, ImageRef};

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
        append(&mut archive, "oci-layout", LAYOUT_VERSION.as_bytes())?;
        for digest in blobs {
            let path = self.blob_path(digest);
            let mut file = File::open(&path).map_err(FileError::on("open", &path))?;
            let size = file.metadata().map_err(FileError::on("examine", &path))?.len();
            progress.begin(Stage::Copy, Some(size));
            let counted = Watched { inner: &mut file, progress };
            entry(&mut archive, &digest.path_in_layout(), size, counted)?;
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

    /// The manifest of an image, and its media type.
    pub(crate) fn manifest(&self, image: &Image) -> Result<(MediaType, Vec<u8>), FileError> {
        let bytes = read_small(&self.blob_path(image.digest()), DOCUMENT_LIMIT)?;
        let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        Ok((media_type_of(&document), bytes))
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
        saved.image.layer_blobs().iter().map(|blob| blob.path_in_layout()).collect();
    json!({
        "Config": saved.image.config_digest().path_in_layout(),
        "RepoTags": saved.name.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "Layers": layers,
    })
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
