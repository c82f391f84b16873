//! From the verified parts of an image to its record: unpacking the layers.

use std::fs::File;
use std::path::PathBuf;

use oci_spec::image::ImageConfiguration;

use super::ImportError;
use crate::accounts::Accounts;
use crate::file::FileError;
use crate::merged::MergedView;
use crate::overlay;
use crate::progress::{Progress, Stage};
use crate::store::{LayerSlot, Record, Transaction};
use crate::unpack::{Unpack, UnpackLimits};
use crate::{Digest, Platform};

/// The parts of an image; all are at hand, or on their way into the transaction.
pub(crate) struct Parts {
    pub manifest: Digest,
    pub config_digest: Digest,
    pub config: ImageConfiguration,
    /// Layer blobs, bottom first.
    pub layers: Vec<Digest>,
}

/// Refuses an image for other machines.
pub(super) fn check_platform(config: &ImageConfiguration) -> Result<(), ImportError> {
    let wanted = Platform::supported();
    let found =
        Platform { os: config.os().clone(), architecture: config.architecture().clone() };
    if found != wanted {
        return Err(ImportError::WrongPlatform { wanted, found: vec![found] });
    }
    Ok(())
}

/// Unpacks the layers that are not there yet and writes the record.
pub(super) fn assemble(
    parts: Parts,
    transaction: &mut Transaction<'_>,
    limits: UnpackLimits,
    progress: &dyn Progress,
) -> Result<Record, ImportError> {
    check_platform(&parts.config)?;
    let diff_ids = diff_ids(&parts.config)?;
    let count = parts.layers.len();
    if count != diff_ids.len() {
        return Err(ImportError::LayerCount { layers: count, diff_ids: diff_ids.len() });
    }
    let mut chain = Vec::new();
    // Topmost first, as overlayfs has them.
    let mut unpacked: Vec<PathBuf> = Vec::new();
    for (number, (digest, diff_id)) in (1..).zip(parts.layers.iter().zip(diff_ids)) {
        let id = Digest::chain(chain.last().copied(), diff_id);
        let dir = match transaction.layer(id)? {
            LayerSlot::Present(dir) => dir,
            LayerSlot::Empty(dir) => {
                let unpack =
                    Unpack { target: &dir, below: &unpacked, diff_id: Some(diff_id), limits };
                let blob = transaction.open_blob(*digest)?;
                progress.begin(Stage::Unpack, transaction.blob_size(*digest));
                unpack.run(blob, progress).map_err(|source| ImportError::Layer {
                    number,
                    count,
                    digest: *digest,
                    source,
                })?;
                transaction.layer_done(id);
                dir
            }
        };
        unpacked.insert(0, dir);
        chain.push(id);
    }
    record(parts, chain, &unpacked, transaction)
}

/// The record of an image whose layers are unpacked in `dirs`, topmost first.
pub(crate) fn record(
    parts: Parts,
    chain: Vec<Digest>,
    dirs: &[PathBuf],
    transaction: &Transaction<'_>,
) -> Result<Record, ImportError> {
    let visible = visible(dirs)?;
    if visible == 0 {
        return Err(ImportError::NoLayers);
    }
    let layers = MergedView::open(&dirs[..visible]).map_err(ImportError::Accounts)?;
    let accounts = Accounts::read(&layers).map_err(ImportError::Accounts)?;
    let size_bytes = parts.layers.iter().filter_map(|d| transaction.blob_size(*d)).sum();
    Ok(Record {
        version: Record::VERSION,
        manifest: parts.manifest,
        config_digest: parts.config_digest,
        config: parts.config,
        blobs: parts.layers,
        chain,
        visible,
        accounts,
        size_bytes,
    })
}

/// How many layers, from the top, make the tree. Overlayfs merges the roots of
/// all layers it is given, opaque or not, so those below must not be given.
fn visible(dirs: &[PathBuf]) -> Result<usize, ImportError> {
    for (above, dir) in dirs.iter().enumerate() {
        let fd = File::open(dir).map_err(FileError::on("open", dir))?;
        if overlay::is_opaque(&fd.into()).map_err(FileError::on("examine", dir))? {
            return Ok(above + 1);
        }
    }
    Ok(dirs.len())
}

fn diff_ids(config: &ImageConfiguration) -> Result<Vec<Digest>, ImportError> {
    let bad = |source| ImportError::BadDigest { what: "a layer".to_owned(), source };
    config.rootfs().diff_ids().iter().map(|text| text.parse().map_err(bad)).collect()
}
