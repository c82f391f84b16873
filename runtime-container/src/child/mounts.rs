//! The child's steps on the filesystem tree.
//!
//! After [`Step::Pivot`] every path is resolved by the kernel from the new
//! root: no symbolic link of an image, however it is made, leads a mount out of
//! the container. The old root is stacked on the new one, where no path leads,
//! until it is detached.

use std::ffi::CStr;
use std::os::fd::RawFd;

use crate::step::{Mount, Step};
use crate::sys::{self, Errno, MountAttr};

use super::Progress;

/// Mode of directories that are created as mount points.
const DIRECTORY_MODE: u32 = 0o755;

/// Longest path (`PATH_MAX`, linux/limits.h), bytes.
const PATH_MAX: usize = 4096;

pub(super) fn perform<'a>(
    step: &'a Step<'_>,
    progress: &mut Progress<'a>,
) -> Result<(), Errno> {
    match step {
        Step::Propagation { target, flags } => sys::mount(None, target, None, *flags, None),
        Step::CloneTree { path, slot, recursive } => {
            let place = progress.slots.get_mut(*slot).ok_or(Errno(libc::EMFILE))?;
            *place = sys::clone_tree(path, *recursive)?;
            Ok(())
        }
        Step::Mkdir(path) => sys::mkdir(path, DIRECTORY_MODE),
        Step::Mount(mount) => mount_at(mount),
        Step::Attach { slot, target, attributes, recursive } => {
            let fd = *progress.slots.get(*slot).ok_or(Errno(libc::EBADF))?;
            if *attributes != MountAttr::default() {
                sys::mount_setattr(fd, c"", *recursive, attributes)?;
            }
            creating(&target.path, target.is_file, || sys::move_mount(fd, &target.path))?;
            sys::close(fd);
            Ok(())
        }
        Step::Pivot { new_root } => pivot(new_root),
        // Of what is stacked on the working directory, the top is meant.
        Step::DetachOldRoot => sys::umount(c".", libc::MNT_DETACH),
        Step::Node { path, mode, device, uid, gid } => node(path, *mode, *device, (*uid, *gid)),
        Step::Symlink { target, path } => tolerate(libc::EEXIST, sys::symlink(target, path)),
        Step::EnsureDirectory(path) => creating(path, false, || {
            let fd = sys::open(path, libc::O_PATH | libc::O_DIRECTORY, 0)?;
            sys::close(fd);
            Ok(())
        }),
        Step::PlaceFile { directory, name, content } => place(directory, name, content),
        Step::Mask(path) => mask(path, progress),
        Step::ReadOnly(path) => read_only(path),
        Step::SetAttributes { path, attributes } => {
            sys::mount_setattr(libc::AT_FDCWD, path, false, attributes)
        }
        // The caller performs all others itself.
        _ => Err(Errno(libc::ENOSYS)),
    }
}

fn tolerate(errno: i32, result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno(found)) if found == errno => Ok(()),
        other => other,
    }
}

/// Runs `action` and, where `path` is not there, creates it and tries again.
fn creating(
    path: &CStr,
    is_file: bool,
    action: impl Fn() -> Result<(), Errno>,
) -> Result<(), Errno> {
    match action() {
        Err(Errno(libc::ENOENT)) => {}
        other => return other,
    }
    make_parents(path)?;
    let created = if is_file {
        sys::mknod(path, libc::S_IFREG | 0o644, 0)
    } else {
        sys::mkdir(path, DIRECTORY_MODE)
    };
    tolerate(libc::EEXIST, created)?;
    action()
}

/// Creates the directories on the way to `path`, outermost first.
fn make_parents(path: &CStr) -> Result<(), Errno> {
    let path = path.to_bytes();
    let mut parent = [0_u8; PATH_MAX];
    let copy = parent.get_mut(..path.len()).ok_or(Errno(libc::ENAMETOOLONG))?;
    copy.copy_from_slice(path);
    for at in (1..path.len()).filter(|at| path[*at] == b'/') {
        parent[at] = 0;
        let so_far = CStr::from_bytes_until_nul(&parent).map_err(|_| Errno(libc::EINVAL))?;
        tolerate(libc::EEXIST, sys::mkdir(so_far, DIRECTORY_MODE))?;
        parent[at] = b'/';
    }
    Ok(())
}

fn mount_at(mount: &Mount) -> Result<(), Errno> {
    creating(&mount.target.path, mount.target.is_file, || {
        let target = &mount.target.path;
        if mount.strict {
            // An image whose /proc is a link must not decide where the real one
            // goes: later steps mask and protect paths below it.
            let fd = sys::open_no_symlinks(target, libc::O_PATH | libc::O_DIRECTORY)?;
            sys::close(fd);
        }
        let data = mount.data.as_deref();
        sys::mount(Some(&mount.source), target, Some(&mount.fstype), mount.flags, data)
    })
}

/// Swaps the root for `new_root`.
fn pivot(new_root: &CStr) -> Result<(), Errno> {
    sys::chdir(new_root)?;
    // With both arguments the same, the old root is stacked on the new one and
    // no directory is needed to hold it (pivot_root(2), "pivot_root(".", ".")").
    sys::pivot_root(c".", c".")
}

fn node(path: &CStr, mode: u32, device: u64, owner: (u32, u32)) -> Result<(), Errno> {
    sys::mknod(path, mode, device)?;
    if owner == (0, 0) { Ok(()) } else { sys::chown(path, owner.0, owner.1) }
}

/// Writes a file of the root filesystem. What is mounted there, or on the way, is somebody
/// else's and stays as it is.
fn place(directory: &CStr, name: &CStr, content: &[u8]) -> Result<(), Errno> {
    let opened = || {
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        sys::open_resolving(
            directory,
            flags,
            libc::RESOLVE_NO_XDEV | libc::RESOLVE_NO_MAGICLINKS,
        )
    };
    let at = match opened() {
        Err(Errno(libc::ENOENT)) => {
            make_parents(directory)?;
            tolerate(libc::EEXIST, sys::mkdir(directory, DIRECTORY_MODE))?;
            opened()
        }
        other => other,
    };
    let at = match at {
        Err(Errno(libc::EXDEV)) => return Ok(()),
        other => other?,
    };
    let written = place_at(at, name, content);
    sys::close(at);
    tolerate(libc::EBUSY, written)
}

fn place_at(at: RawFd, name: &CStr, content: &[u8]) -> Result<(), Errno> {
    // A symbolic link is removed with it and not followed.
    tolerate(libc::ENOENT, sys::unlink_at(at, name))?;
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    let file = sys::open_at(at, name, flags, 0o644)?;
    let mut left = content;
    let written = loop {
        if left.is_empty() {
            break Ok(());
        }
        match sys::write(file, left) {
            Ok(0) => break Err(Errno(libc::EIO)),
            Ok(count) => left = left.get(count..).unwrap_or_default(),
            Err(errno) => break Err(errno),
        }
    };
    sys::close(file);
    written
}

/// Covers a file with the null device, a directory with an empty one.
fn mask<'a>(path: &'a CStr, progress: &mut Progress<'a>) -> Result<(), Errno> {
    match sys::mount(Some(c"/dev/null"), path, None, libc::MS_BIND, None) {
        Err(Errno(libc::ENOTDIR)) => {}
        other => return tolerate(libc::ENOENT, other),
    }
    if let Some(empty) = progress.empty_directory {
        return sys::mount(Some(empty), path, None, libc::MS_BIND, None);
    }
    let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    sys::mount(Some(c"tmpfs"), path, Some(c"tmpfs"), flags, Some(c"size=0,nr_inodes=1"))?;
    progress.empty_directory = Some(path);
    Ok(())
}

fn read_only(path: &CStr) -> Result<(), Errno> {
    match sys::mount(Some(path), path, None, libc::MS_BIND | libc::MS_REC, None) {
        Err(Errno(libc::ENOENT)) => return Ok(()),
        other => other?,
    }
    // Adds the flag and keeps the others, unlike a remount.
    let attributes = MountAttr { set: libc::ST_RDONLY, ..MountAttr::default() };
    sys::mount_setattr(libc::AT_FDCWD, path, true, &attributes)
}

/// Gives the terminal that is standard input to its user; that of a container's first
/// process is the container's console as well (runtime-spec, "Default Devices").
pub(super) fn own_terminal(uid: u32, is_console: bool) -> Result<(), Errno> {
    sys::own(0, uid)?;
    if !is_console {
        return Ok(());
    }
    let mount = sys::clone_mount_of(0)?;
    let attached = creating(c"/dev/console", true, || sys::move_mount(mount, c"/dev/console"));
    sys::close(mount);
    attached
}
