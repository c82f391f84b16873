//! Descriptors, files and mounts.

use std::ffi::CStr;
use std::os::fd::RawFd;

use super::{Result, bits, reg, syscall, text};

// linux/mount.h; not in the libc crate for this target.
const OPEN_TREE_CLONE: u32 = 1;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x04;
const MOVE_MOUNT_T_SYMLINKS: u32 = 0x10;

/// `struct mount_attr` (linux/mount.h): what `mount_setattr(2)` changes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MountAttr {
    pub set: u64,
    pub clear: u64,
    pub propagation: u64,
    pub userns_fd: u64,
}

pub(crate) fn read(fd: RawFd, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: the buffer is valid for writes of its length.
    unsafe { call!(SYS_read, reg(fd), buffer.as_mut_ptr().addr(), buffer.len()) }
}

pub(crate) fn write(fd: RawFd, data: &[u8]) -> Result<usize> {
    // SAFETY: the data is valid for reads of its length.
    unsafe { call!(SYS_write, reg(fd), data.as_ptr().addr(), data.len()) }
}

/// Writes to a socket; a closed other end is an error and not a signal.
pub(crate) fn send(fd: RawFd, data: &[u8]) -> Result<usize> {
    let flags = reg(libc::MSG_NOSIGNAL);
    // SAFETY: the data is valid for reads of its length; no address is given.
    unsafe { call!(SYS_sendto, reg(fd), data.as_ptr().addr(), data.len(), flags, 0, 0) }
}

/// Opens `path` relative to the working directory, close-on-exec.
pub(crate) fn open(path: &CStr, flags: i32, mode: u32) -> Result<RawFd> {
    open_at(libc::AT_FDCWD, path, flags, mode)
}

/// Opens `path` relative to the directory `at`, close-on-exec.
pub(crate) fn open_at(at: RawFd, path: &CStr, flags: i32, mode: u32) -> Result<RawFd> {
    // SAFETY: `path` is a terminated string.
    let fd = unsafe {
        call!(SYS_openat, reg(at), text(path), reg(flags | libc::O_CLOEXEC), bits(mode))
    }?;
    Ok(RawFd::try_from(fd).unwrap_or(-1))
}

/// Opens `path` refusing symbolic links anywhere in it.
pub(crate) fn open_no_symlinks(path: &CStr, flags: i32) -> Result<RawFd> {
    open_resolving(path, flags, libc::RESOLVE_NO_SYMLINKS)
}

/// Opens `path`, found only in the ways that `resolve` allows (openat2(2)).
pub(crate) fn open_resolving(path: &CStr, flags: i32, resolve: u64) -> Result<RawFd> {
    let how = [u64::from((flags | libc::O_CLOEXEC).cast_unsigned()), 0, resolve];
    // SAFETY: `how` has the layout of `struct open_how` (linux/openat2.h): flags,
    // mode, resolve, each 64 bits.
    let fd = unsafe {
        call!(
            SYS_openat2,
            reg(libc::AT_FDCWD),
            text(path),
            how.as_ptr().addr(),
            size_of_val(&how)
        )
    }?;
    Ok(RawFd::try_from(fd).unwrap_or(-1))
}

pub(crate) fn mount(
    source: Option<&CStr>,
    target: &CStr,
    fstype: Option<&CStr>,
    flags: u64,
    data: Option<&CStr>,
) -> Result<()> {
    let or_null = |string: Option<&CStr>| string.map_or(0, text);
    // SAFETY: all strings are terminated or null.
    unsafe {
        call!(
            SYS_mount,
            or_null(source),
            text(target),
            or_null(fstype),
            bits(flags),
            or_null(data)
        )
    }
    .map(drop)
}

pub(crate) fn umount(target: &CStr, flags: i32) -> Result<()> {
    // SAFETY: `target` is a terminated string.
    unsafe { call!(SYS_umount2, text(target), reg(flags)) }.map(drop)
}

pub(crate) fn pivot_root(new_root: &CStr, put_old: &CStr) -> Result<()> {
    // SAFETY: both are terminated strings.
    unsafe { call!(SYS_pivot_root, text(new_root), text(put_old)) }.map(drop)
}

/// A detached copy of the mount at `path` (`open_tree(2)`).
pub(crate) fn clone_tree(path: &CStr, recursive: bool) -> Result<RawFd> {
    let mut flags = OPEN_TREE_CLONE | libc::O_CLOEXEC.cast_unsigned();
    if recursive {
        flags |= libc::AT_RECURSIVE.cast_unsigned();
    }
    // SAFETY: `path` is a terminated string.
    let fd = unsafe { call!(SYS_open_tree, reg(libc::AT_FDCWD), text(path), bits(flags)) }?;
    Ok(RawFd::try_from(fd).unwrap_or(-1))
}

/// A detached copy of the mount of the open file `fd`, with that file as its root.
pub(crate) fn clone_mount_of(fd: RawFd) -> Result<RawFd> {
    let flags =
        OPEN_TREE_CLONE | libc::O_CLOEXEC.cast_unsigned() | libc::AT_EMPTY_PATH.cast_unsigned();
    // SAFETY: an empty, terminated string.
    let fd = unsafe { call!(SYS_open_tree, reg(fd), text(c""), bits(flags)) }?;
    Ok(RawFd::try_from(fd).unwrap_or(-1))
}

/// Gives what `fd` is open on to user `uid`; its group stays.
pub(crate) fn own(fd: RawFd, uid: u32) -> Result<()> {
    // SAFETY: takes no pointers. A group of -1 leaves the group (chown(2)).
    unsafe { call!(SYS_fchown, reg(fd), bits(uid), bits(u32::MAX)) }.map(drop)
}

/// Attaches the detached mount `fd` at `target`.
pub(crate) fn move_mount(fd: RawFd, target: &CStr) -> Result<()> {
    let flags = bits(MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS);
    // SAFETY: both paths are terminated strings.
    unsafe {
        call!(SYS_move_mount, reg(fd), text(c""), reg(libc::AT_FDCWD), text(target), flags)
    }
    .map(drop)
}

/// Changes the attributes of the mount that `fd` and `path` name.
pub(crate) fn mount_setattr(
    fd: RawFd,
    path: &CStr,
    recursive: bool,
    attributes: &MountAttr,
) -> Result<()> {
    let mut flags = if path.is_empty() { libc::AT_EMPTY_PATH } else { 0 };
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    let address = std::ptr::from_ref(attributes).addr();
    // SAFETY: `path` is a terminated string, `attributes` a MountAttr of that size.
    unsafe {
        call!(
            SYS_mount_setattr,
            reg(fd),
            text(path),
            reg(flags),
            address,
            size_of::<MountAttr>()
        )
    }
    .map(drop)
}

pub(crate) fn mkdir(path: &CStr, mode: u32) -> Result<()> {
    // SAFETY: `path` is a terminated string.
    unsafe { call!(SYS_mkdir, text(path), bits(mode)) }.map(drop)
}

/// Creates a node readable by `mode`, on device `device` if it is one.
pub(crate) fn mknod(path: &CStr, mode: u32, device: u64) -> Result<()> {
    // SAFETY: `path` is a terminated string.
    unsafe { call!(SYS_mknod, text(path), bits(mode), bits(device)) }.map(drop)
}

pub(crate) fn chown(path: &CStr, uid: u32, gid: u32) -> Result<()> {
    // SAFETY: `path` is a terminated string.
    unsafe { call!(SYS_lchown, text(path), bits(uid), bits(gid)) }.map(drop)
}

/// Removes the file `name` of the directory `at`.
pub(crate) fn unlink_at(at: RawFd, name: &CStr) -> Result<()> {
    // SAFETY: `name` is a terminated string.
    unsafe { call!(SYS_unlinkat, reg(at), text(name), 0) }.map(drop)
}

pub(crate) fn symlink(target: &CStr, path: &CStr) -> Result<()> {
    // SAFETY: both are terminated strings.
    unsafe { call!(SYS_symlink, text(target), text(path)) }.map(drop)
}

pub(crate) fn chdir(path: &CStr) -> Result<()> {
    // SAFETY: `path` is a terminated string.
    unsafe { call!(SYS_chdir, text(path)) }.map(drop)
}

/// Whether the working directory is reachable from the root.
pub(crate) fn cwd_is_reachable() -> bool {
    let mut path = [0_u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer is valid for writes of its length.
    let returned = unsafe { call!(SYS_getcwd, path.as_mut_ptr().addr(), path.len()) };
    // The kernel prefixes what is outside with `(unreachable)`.
    returned.is_ok() && path[0] == b'/'
}

pub(crate) fn umask(mask: u32) {
    // SAFETY: takes no pointers and cannot fail.
    let _ = unsafe { call!(SYS_umask, bits(mask)) };
}

pub(crate) fn close(fd: RawFd) {
    // SAFETY: takes no pointers; the callers own `fd`.
    let _ = unsafe { call!(SYS_close, reg(fd)) };
}

pub(crate) fn dup3(from: RawFd, to: RawFd, flags: i32) -> Result<()> {
    // SAFETY: takes no pointers.
    unsafe { call!(SYS_dup3, reg(from), reg(to), reg(flags)) }.map(drop)
}

/// Marks every descriptor from `first` on close-on-exec.
pub(crate) fn cloexec_from(first: u32) -> Result<()> {
    let flags = bits(libc::CLOSE_RANGE_CLOEXEC);
    // SAFETY: takes no pointers.
    unsafe { call!(SYS_close_range, bits(first), bits(u32::MAX), flags) }.map(drop)
}

/// Closes every descriptor from `first` on.
pub(crate) fn close_from(first: u32) -> Result<()> {
    close_range(first, u32::MAX)
}

/// Closes every descriptor from `first` to `last`.
pub(crate) fn close_range(first: u32, last: u32) -> Result<()> {
    // SAFETY: takes no pointers.
    unsafe { call!(SYS_close_range, bits(first), bits(last), 0) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::Errno;
    use super::*;

    #[test]
    fn errors_are_numbers_and_not_addresses() {
        assert_eq!(open(c"/nonexistent/file", libc::O_RDONLY, 0), Err(Errno(libc::ENOENT)));
        assert_eq!(dup3(0, 0, 0), Err(Errno(libc::EINVAL)));
    }

    #[test]
    fn a_symbolic_link_is_seen_when_it_matters() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/", &link).unwrap();
        let path = std::ffi::CString::new(link.into_os_string().into_encoded_bytes()).unwrap();
        assert_eq!(open_no_symlinks(&path, libc::O_PATH), Err(Errno(libc::ELOOP)));
    }
}
