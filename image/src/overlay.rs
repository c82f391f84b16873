//! How overlayfs marks deletions in a layer
//! (kernel, Documentation/filesystems/overlayfs.rst, "whiteouts and opaque
//! directories").
//!
//! A whiteout is a character device 0:0, which anybody may make since Linux
//! 5.8. An opaque directory has an extended attribute, in the `trusted`
//! namespace, or in `user` for mounts made without privilege (`userxattr`).

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{FileType, Mode, Stat, XattrFlags, mknodat};
use rustix::io::Errno;

/// Prefixes of overlayfs's own attributes: its bookkeeping, never content. One
/// smuggled into an image (`redirect`, `metacopy`) could make a mount show
/// files that are not the image's.
const PRIVATE_XATTRS: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// The attribute that makes a directory opaque, for this process's mounts.
pub(crate) fn opaque_xattr() -> &'static str {
    if rustix::process::geteuid().is_root() {
        "trusted.overlay.opaque"
    } else {
        "user.overlay.opaque"
    }
}

/// Whether an attribute is overlayfs's own.
pub(crate) fn is_private_xattr(name: &[u8]) -> bool {
    PRIVATE_XATTRS.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a file is a whiteout.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Makes a whiteout.
pub(crate) fn make_whiteout(dir: impl AsFd, name: &std::ffi::OsStr) -> rustix::io::Result<()> {
    mknodat(dir, name, FileType::CharacterDevice, Mode::empty(), 0)
}

/// Marks a directory as opaque.
pub(crate) fn make_opaque(dir: impl AsFd) -> rustix::io::Result<()> {
    rustix::fs::fsetxattr(dir, opaque_xattr(), b"y", XattrFlags::empty())
}

/// Whether a directory, opened with `O_PATH` or otherwise, is opaque.
pub(crate) fn is_opaque(dir: &OwnedFd) -> io::Result<bool> {
    let mut value = [0; 1];
    let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
    match rustix::fs::getxattr(path, opaque_xattr(), &mut value[..]) {
        Ok(_) => Ok(value == *b"y"),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(false),
        Err(e) => Err(e.into()),
    }
}
