//! What a layer deletes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::EntryError;
use super::layer::Layer;
use super::path::LayerPath;
use super::root::{Occupant, occupant};
use crate::overlay;

/// Prefix of the name of a whiteout (image-spec, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
/// Makes the directory it is in opaque (image-spec, "Opaque Whiteout").
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Prefix of the bookkeeping of AUFS, for which whiteouts were invented; old
/// images have such entries, and everybody ignores them.
const AUFS: &[u8] = b".wh..wh.";

/// Whether a path has a component that is a whiteout or another mark.
pub(super) fn is_mark(path: &LayerPath) -> bool {
    path.components().any(|component| component.starts_with(WHITEOUT))
}

impl Layer<'_> {
    /// A whiteout or a mark of opaqueness.
    pub(super) fn mark(&mut self, path: &LayerPath) -> Result<(), EntryError> {
        if path.components().any(|component| component.starts_with(AUFS) && component != OPAQUE)
        {
            return Ok(());
        }
        let Some((parent, marker)) = path.split() else { return Ok(()) };
        if LayerPath::parse(parent)
            .map_err(EntryError::Path)?
            .components()
            .any(|component| component.starts_with(WHITEOUT))
        {
            return Err(EntryError::ReservedName);
        }
        if marker == OPAQUE {
            self.parent(parent)?;
            self.directories.entry(parent.to_owned()).or_default().opaque = true;
            return Ok(());
        }
        let hidden = &marker[WHITEOUT.len()..];
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(EntryError::WhiteoutOfRoot);
        }
        // The bottom layer has nothing to hide.
        if self.below.is_none() {
            return Ok(());
        }
        let name = OsStr::from_bytes(hidden);
        let dir = self.parent(parent)?;
        match occupant(dir, name).map_err(EntryError::io("examine"))? {
            Occupant::Nothing => {
                overlay::make_whiteout(dir, name).map_err(EntryError::io("make a whiteout for"))
            }
            Occupant::Directory => {
                let path = [parent, hidden].join(&b'/');
                let path = LayerPath::parse(&path).map_err(EntryError::Path);
                let path = path.map_err(|_| EntryError::ReservedName)?;
                self.directories.entry(path.as_bytes().to_owned()).or_default().opaque = true;
                Ok(())
            }
            // A file of this layer hides what is below without help.
            Occupant::Whiteout | Occupant::Other => Ok(()),
        }
    }
}
