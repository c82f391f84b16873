//! Bringing images in from files: OCI layouts, `docker save` archives, and
//! plain archives of a root filesystem.

mod assemble;
mod docker;
mod error;
mod generate;
mod layout;
mod rootfs;
mod source;

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

pub use error::ImportError;
pub use rootfs::RootfsConfig;

pub(crate) use assemble::{Parts, record};
pub(crate) use generate::{BlobRef, Generate, generate, manifest};
pub(crate) use layout::{
    ANNOTATION_CONTAINERD_NAME, Arrival, ArtifactBlobs, LAYOUT_VERSION, Pulling, artifact_in,
    from_registry, media_type_of,
};
pub(crate) use source::DOCUMENT_LIMIT;

use crate::compression::Compression;
use crate::file::FileError;
use crate::progress::Progress;
use crate::store::{Record, Store, Transaction};
use crate::tarball::TarReader;
use crate::unpack::UnpackLimits;
use crate::{Image, ImageRef};
use source::Source;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An image in OCI layout (image-spec, "Image Layout"): a directory, or an
    /// archive of it.
    OciLayout,
    /// What `docker save` writes.
    DockerArchive,
    /// An archive of a root filesystem, as debootstrap or `docker export` make.
    Rootfs,
}

/// How to import.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// The name to give the image, instead of the one it comes with. Without
    /// either, the name of the file is taken.
    pub name: Option<ImageRef>,
    /// What the file holds; found out when not given.
    pub format: Option<Format>,
    /// How much a layer may hold.
    pub limits: UnpackLimits,
    /// Configuration for a root filesystem, which comes without one. Images in
    /// the other formats have their own: it is an error to give them another.
    pub config: RootfsConfig,
}

/// An image that was imported.
#[derive(Debug)]
pub struct Imported {
    /// The image.
    pub image: Image,
    /// The names it was given.
    pub names: Vec<ImageRef>,
}

/// An image on its way in, and the names it comes with, as written there.
struct Found {
    record: Record,
    names: Vec<String>,
}

impl Store {
    /// Imports all images a file or directory holds. All of them are in the
    /// store afterwards, or none.
    ///
    /// # Errors
    ///
    /// [`ImportError`]; the store is as it was before.
    pub fn import(
        &self,
        path: &Path,
        options: &ImportOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<Imported>, ImportError> {
        let format = match options.format {
            Some(format) => format,
            None => detect(path)?,
        };
        if format != Format::Rootfs && options.config != RootfsConfig::default() {
            return Err(ImportError::HasConfig { path: path.to_owned() });
        }
        let mut transaction = Transaction::begin(self)?;
        let found = match format {
            Format::Rootfs => {
                let record = rootfs::import(&mut transaction, path, options, progress)?;
                vec![Found { record, names: Vec::new() }]
            }
            Format::OciLayout => {
                let mut source =
                    Source::open(path, &mut transaction, &options.limits, progress)?;
                layout::import(&mut source, &mut transaction, options.limits, progress)?
            }
            Format::DockerArchive => {
                let mut source =
                    Source::open(path, &mut transaction, &options.limits, progress)?;
                docker::import(&mut source, &mut transaction, options.limits, progress)?
            }
        };
        let named = name_all(found, path, options.name.as_ref())?;
        transaction.commit(&named, progress)?;
        named
            .into_iter()
            .map(|(record, names)| {
                let image = self.load(record.manifest)?;
                Ok(Imported { image, names })
            })
            .collect()
    }
}

/// Decides what the images are called.
fn name_all(
    found: Vec<Found>,
    path: &Path,
    wanted: Option<&ImageRef>,
) -> Result<Vec<(Record, Vec<ImageRef>)>, ImportError> {
    if let Some(wanted) = wanted {
        let count = found.len();
        let [only]: [Found; 1] =
            found.try_into().map_err(|_| ImportError::SeveralImages { count })?;
        return Ok(vec![(only.record, vec![wanted.clone()])]);
    }
    let name_one = |image: Found| {
        let mut names = Vec::new();
        for written in &image.names {
            names.push(name_of(written, path)?);
        }
        if names.is_empty() {
            names.push(name_of_file(path)?);
        }
        names.sort();
        names.dedup();
        Ok((image.record, names))
    };
    found.into_iter().map(name_one).collect()
}

/// The name an image comes with: a whole one, or, in an OCI layout, often only
/// a tag, of a name that the layout itself is known by.
fn name_of(written: &str, path: &Path) -> Result<ImageRef, ImportError> {
    if written.contains([':', '/']) {
        return Ok(written.parse()?);
    }
    let base = name_of_file(path)?;
    Ok(format!("{}:{written}", base.repository()).parse()?)
}

/// A name made of a file's: without what follows the first dot that starts a
/// known ending.
fn name_of_file(path: &Path) -> Result<ImageRef, ImportError> {
    let unusable = || ImportError::NameNeeded { path: path.to_owned() };
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let name = absolute.file_name().and_then(|name| name.to_str()).ok_or_else(unusable)?;
    let mut name = name.to_ascii_lowercase();
    for ending in [".gz", ".zst", ".tgz", ".tar", ".oci"] {
        name.truncate(name.strip_suffix(ending).unwrap_or(&name).len());
    }
    name.parse().map_err(|_| unusable())
}

/// Tells what a file holds.
fn detect(path: &Path) -> Result<Format, ImportError> {
    let metadata = std::fs::metadata(path).map_err(FileError::on("open", path))?;
    if metadata.is_dir() {
        return detect_directory(path);
    }
    if !metadata.is_file() {
        return Err(ImportError::NotAnImage { path: path.to_owned() });
    }
    let mut archive = TarReader::new(BufReader::new(open_archive(path)?));
    let unreadable = |source| ImportError::Archive { path: path.to_owned(), source };
    while let Some(entry) = archive.next_entry().map_err(unreadable)? {
        let name = String::from_utf8_lossy(&entry.path).into_owned();
        if let Some(first) = name.split('/').find(|c| !matches!(*c, "" | ".")) {
            return Ok(detect_by_name(first, path)?.unwrap_or(Format::Rootfs));
        }
    }
    Err(ImportError::NotAnImage { path: path.to_owned() })
}

fn detect_directory(path: &Path) -> Result<Format, ImportError> {
    for (marker, format) in
        [("index.json", Format::OciLayout), ("manifest.json", Format::DockerArchive)]
    {
        if path.join(marker).is_file() {
            return Ok(format);
        }
    }
    Err(ImportError::PlainDirectory { path: path.to_owned() })
}

/// Whether the first name in an archive is one that archives of images have.
/// Which of the two forms it is only shows when all names are known: an archive
/// of docker 25 is both.
fn detect_by_name(first: &str, path: &Path) -> Result<Option<Format>, ImportError> {
    let legacy_id =
        first.len() >= 64 && first.as_bytes()[..64].iter().all(u8::is_ascii_hexdigit);
    if !legacy_id
        && !matches!(
            first,
            "blobs" | "oci-layout" | "index.json" | "manifest.json" | "repositories"
        )
    {
        return Ok(None);
    }
    let mut archive = TarReader::new(BufReader::new(open_archive(path)?));
    let unreadable = |source| ImportError::Archive { path: path.to_owned(), source };
    while let Some(entry) = archive.next_entry().map_err(unreadable)? {
        let name = entry.path.strip_prefix(b"./").unwrap_or(&entry.path);
        if name == b"index.json" {
            return Ok(Some(Format::OciLayout));
        }
    }
    Ok(Some(Format::DockerArchive))
}

/// Opens an archive for reading, decompressed.
fn open_archive(path: &Path) -> Result<Box<dyn Read>, ImportError> {
    let mut file = File::open(path).map_err(FileError::on("open", path))?;
    let compression = Compression::detect_file(&mut file)
        .map_err(FileError::on("read", path))?
        .map_err(|source| ImportError::Compression { path: path.to_owned(), source })?;
    let decoded: io::Result<Box<dyn Read>> = compression.decode(file);
    Ok(decoded.map_err(FileError::on("decompress", path))?)
}
