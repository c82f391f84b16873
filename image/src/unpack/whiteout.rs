//! What a layer deletes.
//!
//! Marks are only noted while the archive is read and applied at its end: they
//! mean what is below, never what the same layer has, wherever they stand.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;

use super::layer::Layer;
use super::path::{LayerPath, join};
use super::root::{Occupant, occupant};
use super::{EntryError, UnpackError, entry_error};
use crate::overlay;

/// Prefix of the name of a whiteout (image-spec, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
/// Makes the directory it is in opaque (image-spec, "Opaque Whiteout").
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Prefix of the bookkeeping of AUFS, for which whiteouts were invented; old
/// images have such entries, and everybody ignores them.
const AUFS: &[u8] = b".wh..wh.";

/// The marks of a layer.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Paths that are deleted.
    whiteouts: BTreeSet<Vec<u8>>,
    /// Directories whose content is.
    opaque: BTreeSet<Vec<u8>>,
}

/// Whether a path has a component that is a whiteout or another mark.
pub(super) fn is_mark(path: &LayerPath) -> bool {
    path.components().any(|component| component.starts_with(WHITEOUT))
}

impl Marks {
    /// Notes the mark that an entry is.
    pub fn note(&mut self, path: &LayerPath) -> Result<(), EntryError> {
        if path.components().any(|component| component.starts_with(AUFS) && component != OPAQUE)
        {
            return Ok(());
        }
        let Some((parent, mark)) = path.split() else { return Ok(()) };
        // A mark in the name of a directory, so that the entry is none itself.
        let marks = path.components().filter(|component| component.starts_with(WHITEOUT));
        if marks.count() > 1 || !mark.starts_with(WHITEOUT) {
            return Err(EntryError::ReservedName);
        }
        if mark == OPAQUE {
            self.opaque.insert(parent.to_owned());
            return Ok(());
        }
        let deleted = &mark[WHITEOUT.len()..];
        if matches!(deleted, b"" | b"." | b"..") {
            return Err(EntryError::WhiteoutOfRoot);
        }
        self.whiteouts.insert(join(parent, deleted));
        Ok(())
    }
}

impl Layer<'_> {
    /// Applies all marks, when everything else is in place.
    pub(super) fn apply_marks(&mut self) -> Result<(), UnpackError> {
        let marks = std::mem::take(&mut self.marks);
        // The bottom layer has nothing to delete.
        if self.below.is_none() {
            return Ok(());
        }
        // In this order, a directory goes before what is in it.
        for path in &marks.whiteouts {
            self.whiteout(path).map_err(entry_error(path))?;
        }
        for path in &marks.opaque {
            self.opaque(path).map_err(entry_error(path))?;
        }
        Ok(())
    }

    fn whiteout(&mut self, path: &[u8]) -> Result<(), EntryError> {
        let clean = LayerPath::parse(path).map_err(EntryError::Path)?;
        let Some((parent, name)) = clean.split() else {
            return Err(EntryError::WhiteoutOfRoot);
        };
        if self.is_hidden(parent)? {
            return Ok(());
        }
        let name = OsStr::from_bytes(name);
        let dir = self.parent(parent)?;
        match occupant(dir, name).map_err(EntryError::io("examine"))? {
            Occupant::Nothing => {
                overlay::make_whiteout(dir, name).map_err(EntryError::io("make a whiteout for"))
            }
            // It would merge with what is below, which is deleted.
            Occupant::Directory => {
                self.directories.entry(path.to_owned()).or_default().opaque = true;
                Ok(())
            }
            // Hides what is below without help.
            Occupant::Other => Ok(()),
        }
    }

    fn opaque(&mut self, path: &[u8]) -> Result<(), EntryError> {
        if !self.is_hidden(path)? {
            self.parent(path)?;
            self.directories.entry(path.to_owned()).or_default().opaque = true;
        }
        Ok(())
    }

    /// Whether the layer has something else where the directory would be, or a
    /// whiteout: then nothing of what is below shows there anyway. Some writers
    /// delete one by one what was in a directory that became a file.
    fn is_hidden(&mut self, directory: &[u8]) -> Result<bool, EntryError> {
        match self.root.directory(directory) {
            Ok(_) | Err(Errno::NOENT) => Ok(false),
            Err(Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(true),
            Err(e) => Err(EntryError::io("open the directory for")(e)),
        }
    }
}
