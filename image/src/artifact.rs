//! Things that are no images, kept as images are: an OCI layout with one artifact in
//! it, whose type says what it is (image-spec, "Guidelines for Artifact Usage").

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use oci_spec::image::{ANNOTATION_REF_NAME, MediaType};
use serde_json::json;
use tempfile::TempDir;

use crate::compression::Compression;
use crate::file::{FileError, read_small, sync_dir};
use crate::import::{
    ArtifactBlobs, BlobRef, ImportError, LAYOUT_VERSION, artifact_in, manifest,
};
use crate::progress::Progress;
use crate::store::{Store, Transaction};
use crate::unpack::UnpackLimits;
use crate::{Digest, NoProgress};

/// Longest configuration taken: it is read into memory.
const CONFIG_LIMIT: u64 = 64 << 20;

/// Compression of layers: zstd's own default.
const LEVEL: i32 = zstd::DEFAULT_COMPRESSION_LEVEL;

/// An artifact that is to be written.
#[derive(Debug)]
pub struct NewArtifact<'a> {
    /// What it is.
    pub artifact_type: &'a str,
    /// What it is called.
    pub name: &'a str,
    /// Type and content of its configuration.
    pub config: (&'a str, &'a [u8]),
    /// Type and content of its only layer, which is compressed (zstd).
    pub layer: (&'a str, &'a File),
}

impl NewArtifact<'_> {
    /// Writes it to `path`, which must not be there: as one archive if the name ends in
    /// `.tar`, as a directory otherwise. All of it is there afterwards, or nothing.
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn write(self, path: &Path) -> Result<(), FileError> {
        if path.exists() {
            return Err(FileError::on("create", path)(io::ErrorKind::AlreadyExists));
        }
        let path = std::path::absolute(path).map_err(FileError::on("find", path))?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        let scratch = tempfile::Builder::new()
            .prefix(".export-")
            .tempdir_in(parent)
            .map_err(FileError::on("create a directory in", parent))?;
        let layout = scratch.path().join("layout");
        self.lay_out(&layout)?;
        if path.extension().is_some_and(|ending| ending == "tar") {
            archive(&scratch, &layout, &path)?;
        } else {
            fs::rename(&layout, &path).map_err(FileError::on("create", &path))?;
        }
        sync_dir(parent)
    }

    fn lay_out(self, dir: &Path) -> Result<(), FileError> {
        let blobs = dir.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(FileError::on("create", &blobs))?;
        let keep = |media_type: &str, content: &mut dyn Read| {
            let (digest, size) = crate::digest::stage(&blobs, content, &NoProgress)?;
            let media_type = MediaType::from(media_type);
            Ok::<_, FileError>(BlobRef { digest, size, media_type })
        };
        let (kind, mut config) = self.config;
        let config = keep(kind, &mut config)?;
        let (kind, content) = self.layer;
        let mut compressed = zstd::stream::read::Encoder::new(content, LEVEL)
            .map_err(FileError::on("compress", &blobs))?;
        let layer = keep(kind, &mut compressed)?;
        let document = manifest(Some(self.artifact_type), &config, &[layer]);
        let manifest = keep(MediaType::ImageManifest.as_ref(), &mut &document[..])?;
        let index = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::ImageIndex,
            "manifests": [{
                "mediaType": manifest.media_type,
                "digest": manifest.digest,
                "size": manifest.size,
                "artifactType": self.artifact_type,
                "annotations": { ANNOTATION_REF_NAME: self.name },
            }],
        });
        let index = index.to_string();
        for (name, document) in [("index.json", &*index), ("oci-layout", LAYOUT_VERSION)] {
            let path = dir.join(name);
            fs::write(&path, document).map_err(FileError::on("write", &path))?;
        }
        Ok(())
    }
}

fn archive(scratch: &TempDir, layout: &Path, path: &Path) -> Result<(), FileError> {
    let whole = scratch.path().join("layout.tar");
    let written = File::create(&whole).and_then(|file| {
        let mut archive = tar::Builder::new(file);
        archive.append_dir_all(".", layout)?;
        archive.into_inner()?.sync_all()
    });
    written.map_err(FileError::on("write", &whole))?;
    fs::rename(&whole, path).map_err(FileError::on("create", path))
}

/// An artifact whose every part has the digest it should have.
#[derive(Debug)]
pub struct Artifact<'s> {
    /// What it is.
    pub artifact_type: String,
    /// What it is called, if it says so.
    pub name: Option<String>,
    config: Digest,
    layers: Vec<(MediaType, Digest)>,
    /// Where its parts are, as long as it is looked at.
    transaction: Transaction<'s>,
}

impl Store {
    /// Reads the only artifact of a layout, a directory or an archive of one, if it is
    /// of one of these types.
    ///
    /// # Errors
    ///
    /// [`ImportError`]; nothing of it stays in the store in any case.
    pub fn artifact(
        &self,
        path: &Path,
        types: &[&str],
        progress: &dyn Progress,
    ) -> Result<Artifact<'_>, ImportError> {
        let mut transaction = Transaction::begin(self)?;
        let limits = UnpackLimits::default();
        let ArtifactBlobs { artifact_type, name, config, layers } =
            artifact_in(path, types, &mut transaction, limits, progress)?;
        Ok(Artifact { artifact_type, name, config, layers, transaction })
    }
}

impl Artifact<'_> {
    /// Its configuration.
    ///
    /// # Errors
    ///
    /// [`FileError`] when it is larger than any should be.
    pub fn config(&self) -> Result<Vec<u8>, FileError> {
        read_small(&self.transaction.blob_path(self.config), CONFIG_LIMIT)
    }

    /// The content of its layer of this type. How much comes out is for the caller to
    /// limit.
    ///
    /// # Errors
    ///
    /// [`ImportError::Missing`] without one.
    pub fn layer(&self, media_type: &str) -> Result<Box<dyn Read>, ImportError> {
        let wanted = MediaType::from(media_type);
        let layer = self.layers.iter().find(|(found, _)| *found == wanted);
        let (_, digest) =
            layer.ok_or_else(|| ImportError::Missing(format!("a layer `{media_type}`")))?;
        let path = self.transaction.blob_path(*digest);
        let mut file = File::open(&path).map_err(FileError::on("open", &path))?;
        let compression = Compression::detect_file(&mut file)
            .map_err(FileError::on("read", &path))?
            .map_err(|source| ImportError::Compression { path: path.clone(), source })?;
        Ok(compression.decode(file).map_err(FileError::on("decompress", &path))?)
    }
}
