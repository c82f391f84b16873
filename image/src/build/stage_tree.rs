//! The files of a stage or image, to copy from.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{fstat, readlinkat};

use super::files::{Kind, Meta, Tree};
use crate::merged::{MergedView, Node};
use crate::unpack::read_xattrs;

/// A stack of layers as one tree.
#[derive(Debug, Clone)]
pub(super) struct StageFiles(pub Rc<MergedView>);

impl Tree for StageFiles {
    fn meta(&self, path: &[u8], follow: bool) -> io::Result<Option<Meta>> {
        let (mut meta, fd) = match self.0.node(path, follow)? {
            None => return Ok(None),
            Some(Node::Directory(layers)) => {
                let Some(top) = layers.first() else { return Ok(None) };
                let meta = Meta::of(&fstat(top)?, || Ok(Vec::new()))?;
                (meta, top.try_clone()?)
            }
            Some(Node::Leaf(fd, stat)) => {
                let target = || Ok(readlinkat(&fd, "", Vec::new())?.into_bytes());
                (Meta::of(&stat, target)?, fd)
            }
        };
        if matches!(meta.kind, Kind::File | Kind::Directory) {
            meta.xattrs = read_xattrs(&path_of(&fd))?;
            meta.xattrs.sort();
        }
        Ok(Some(meta))
    }

    fn names(&self, path: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        self.0.names(path)
    }

    fn open(&self, path: &[u8]) -> io::Result<File> {
        match self.0.node(path, true)? {
            Some(Node::Leaf(fd, _)) => {
                File::open(String::from_utf8_lossy(&path_of(&fd)).as_ref())
            }
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn keeps_owners(&self) -> bool {
        true
    }
}

fn path_of(fd: &OwnedFd) -> Vec<u8> {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into_bytes()
}
