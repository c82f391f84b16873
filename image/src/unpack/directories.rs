//! Directories get their attributes when everything is in them.

use std::ffi::OsStr;
use std::io;
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::OFlags;

use super::layer::{Directory, Layer};
use super::metadata::Metadata;
use super::path::join;
use super::{EntryError, UnpackError, entry_error};
use crate::overlay;

impl Layer<'_> {
    /// Gives all directories their attributes, the inner ones first.
    pub fn finish(&self) -> Result<(), UnpackError> {
        for (path, directory) in self.directories.iter().rev() {
            self.finish_directory(path, directory).map_err(entry_error(path))?;
        }
        Ok(())
    }

    fn finish_directory(&self, path: &[u8], directory: &Directory) -> Result<(), EntryError> {
        let open = |flags| {
            self.root.open_again(path, flags).map_err(EntryError::io("open the directory for"))
        };
        let fd = open(OFlags::RDONLY)?;
        let implied;
        let metadata = match &directory.metadata {
            Some(metadata) => metadata,
            None => {
                implied = self.implied(path).map_err(EntryError::io("find the metadata of"))?;
                &implied
            }
        };
        if directory.opaque && self.below.is_some() {
            overlay::make_opaque(&fd).map_err(EntryError::io("hide what is below"))?;
        }
        metadata.apply(&fd, self.privilege)
    }

    /// Attributes of a directory without an entry: those it has below, since
    /// the layer says nothing about it.
    fn implied(&self, path: &[u8]) -> io::Result<Metadata> {
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(i, _)| i);
        let mut above = ends.map(|end| &path[..end]).chain([&[][..], path]);
        let hidden = above.any(|dir| self.directories.get(dir).is_some_and(|dir| dir.opaque));
        if !hidden
            && let Some(below) = self.below
            && let Some(directory) = below.directory(path)?
            && let Some(topmost) = directory.first()
        {
            return Metadata::of_file(topmost);
        }
        Ok(Metadata::of_implied_directory())
    }

    /// Forgets a directory that was removed, and all in it.
    pub(super) fn forget_directories(&mut self, parent: &[u8], name: &OsStr) {
        let path = join(parent, name.as_bytes());
        self.directories.remove(&path);
        let inside = [&path[..], b"/"].concat();
        // '0' follows '/' in ASCII: the end of all that begin with `inside`.
        let end = [&path[..], b"0"].concat();
        let range = (Bound::Included(inside), Bound::Excluded(end));
        let gone: Vec<_> =
            self.directories.range(range).map(|(path, _)| path.clone()).collect();
        for path in gone {
            self.directories.remove(&path);
        }
    }
}
