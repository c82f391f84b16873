//! Files, directories and mounts.

use alloc::vec::Vec;
use core::ffi::{CStr, c_int};
use core::mem::{MaybeUninit, size_of};
use core::ptr::{self, NonNull};

use super::{Errno, Fd, Result, syscall};

/// Opens `path`.
pub fn open(path: &CStr, flags: c_int) -> Result<Fd> {
    // SAFETY: `path` is a C string.
    let fd = unsafe { syscall!(SYS_open, path, flags | libc::O_CLOEXEC, 0_u32)? };
    Fd::returned(fd)
}

/// Makes a file that is not there yet, to write to.
pub fn create(path: &CStr, mode: u32) -> Result<Fd> {
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
    // SAFETY: `path` is a C string.
    Fd::returned(unsafe { syscall!(SYS_open, path, flags, mode)? })
}

/// Removes a name that is not a directory's.
pub fn remove(path: &CStr) -> Result<()> {
    // SAFETY: `path` is a C string.
    unsafe { syscall!(SYS_unlink, path)? };
    Ok(())
}

/// Removes an empty directory.
pub fn remove_dir(path: &CStr) -> Result<()> {
    // SAFETY: `path` is a C string.
    unsafe { syscall!(SYS_rmdir, path)? };
    Ok(())
}

/// Mounts; an absent source, type or data is passed as a null pointer.
pub fn mount(
    source: Option<&CStr>,
    target: &CStr,
    fstype: Option<&CStr>,
    flags: u64,
    data: Option<&CStr>,
) -> Result<()> {
    // SAFETY: all strings are C strings or null, which mount(2) allows.
    unsafe { syscall!(SYS_mount, source, target, fstype, flags, data)? };
    Ok(())
}

/// Makes the mount at `target` read-only and leaves its other flags. `target`
/// must be a mount point.
pub fn set_read_only(target: &CStr) -> Result<()> {
    set_attributes(target, libc::MOUNT_ATTR_RDONLY, 0)
}

/// The opposite of [`set_read_only`].
pub fn set_writable(target: &CStr) -> Result<()> {
    set_attributes(target, 0, libc::MOUNT_ATTR_RDONLY)
}

fn set_attributes(target: &CStr, attr_set: u64, attr_clr: u64) -> Result<()> {
    let attributes = libc::mount_attr { attr_set, attr_clr, propagation: 0, userns_fd: 0 };
    // SAFETY: `target` is a C string, `attributes` is valid for reads of its size.
    unsafe {
        syscall!(
            SYS_mount_setattr,
            libc::AT_FDCWD,
            target,
            0,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )?;
    }
    Ok(())
}

/// Takes the topmost mount at `target` out of the tree, in use or not.
pub fn unmount_detached(target: &CStr) -> Result<()> {
    // SAFETY: `target` is a C string.
    unsafe { syscall!(SYS_umount2, target, libc::MNT_DETACH)? };
    Ok(())
}

/// Makes `new_root` the root and moves the old root to `put_old`.
pub fn pivot_root(new_root: &CStr, put_old: &CStr) -> Result<()> {
    // SAFETY: both are C strings.
    unsafe { syscall!(SYS_pivot_root, new_root, put_old)? };
    Ok(())
}

/// Changes the working directory.
pub fn change_dir(path: &CStr) -> Result<()> {
    // SAFETY: `path` is a C string.
    unsafe { syscall!(SYS_chdir, path)? };
    Ok(())
}

/// Makes a directory.
pub fn make_dir(path: &CStr, mode: u32) -> Result<()> {
    // SAFETY: `path` is a C string.
    unsafe { syscall!(SYS_mkdir, path, mode)? };
    Ok(())
}

/// Makes a device node.
pub fn make_node(path: &CStr, mode: u32, major: u32, minor: u32) -> Result<()> {
    let device = libc::makedev(major, minor);
    // SAFETY: `path` is a C string.
    unsafe { syscall!(SYS_mknod, path, mode, device)? };
    Ok(())
}

/// Makes a symbolic link at `link` to `target`.
pub fn symlink(target: &CStr, link: &CStr) -> Result<()> {
    // SAFETY: both are C strings.
    unsafe { syscall!(SYS_symlink, target, link)? };
    Ok(())
}

/// Changes the owner of `path`.
pub fn change_owner(path: &CStr, uid: u32, gid: u32) -> Result<()> {
    // SAFETY: `path` is a C string.
    unsafe { syscall!(SYS_lchown, path, uid, gid)? };
    Ok(())
}

/// Changes the owner of what `fd` is open on; its group stays.
pub fn stream_owner(fd: c_int, uid: u32) -> Result<()> {
    // SAFETY: no memory is passed. A group of -1 leaves the group (chown(2)).
    unsafe { syscall!(SYS_fchown, fd, uid, u32::MAX)? };
    Ok(())
}

/// Owner, group and mode of `path`.
pub fn owner_and_mode(path: &CStr) -> Result<(u32, u32, u32)> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `path` is a C string and `stat` has room for the result; the
    // structure of x86-64 is the same in the kernel and in libc.
    unsafe { syscall!(SYS_stat, path, stat.as_mut_ptr())? };
    // SAFETY: the kernel has filled it.
    let stat = unsafe { stat.assume_init() };
    Ok((stat.st_uid, stat.st_gid, stat.st_mode))
}

/// What there is to know of what is at `path`, a symlink itself.
pub fn lstat(path: &CStr) -> Result<libc::stat> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: as in `owner_and_mode`.
    unsafe { syscall!(SYS_lstat, path, stat.as_mut_ptr())? };
    // SAFETY: the kernel has filled it.
    Ok(unsafe { stat.assume_init() })
}

/// Appends where the symlink at `path` leads.
pub fn read_link(path: &CStr, target: &mut Vec<u8>) -> Result<()> {
    append(target, PATH_MAX, |buffer, most| {
        // SAFETY: the kernel writes at most `most` bytes to `buffer`.
        unsafe { syscall!(SYS_readlink, path, buffer, most) }
    })
}

/// Appends the names of the extended attributes of what is at `path`, a symlink itself,
/// each with its NUL.
pub fn xattr_names(path: &CStr, names: &mut Vec<u8>) -> Result<()> {
    append(names, XATTR_MAX, |buffer, most| {
        // SAFETY: the kernel writes at most `most` bytes to `buffer`.
        unsafe { syscall!(SYS_llistxattr, path, buffer, most) }
    })
}

/// Appends the value of one of them.
pub fn xattr(path: &CStr, name: &CStr, value: &mut Vec<u8>) -> Result<()> {
    append(value, XATTR_MAX, |buffer, most| {
        // SAFETY: the kernel writes at most `most` bytes to `buffer`.
        unsafe { syscall!(SYS_lgetxattr, path, name, buffer, most) }
    })
}

/// Appends the next entries of a directory, as getdents64(2) gives them; how many bytes.
pub fn directory_entries(dir: &Fd, entries: &mut Vec<u8>) -> Result<usize> {
    let before = entries.len();
    append(entries, DIRECTORY_PIECE, |buffer, most| {
        // SAFETY: the kernel writes at most `most` bytes to `buffer`.
        unsafe { syscall!(SYS_getdents64, dir.raw(), buffer, most) }
    })?;
    Ok(entries.len() - before)
}

/// Longest path, and longest list or value of extended attributes (linux/limits.h).
const PATH_MAX: usize = 4096;
const XATTR_MAX: usize = 64 * 1024;
/// Entries that are read at once, bytes.
const DIRECTORY_PIECE: usize = 16 * 1024;

/// Has the kernel write behind the content of `to`: `write` returns how much.
fn append(
    to: &mut Vec<u8>,
    most: usize,
    write: impl FnOnce(*mut MaybeUninit<u8>, usize) -> Result<usize>,
) -> Result<()> {
    to.reserve(most);
    let count = write(to.spare_capacity_mut().as_mut_ptr(), most)?;
    // SAFETY: the kernel has initialised `count` bytes, at most `most`, behind the content.
    unsafe { to.set_len(to.len() + count.min(most)) };
    Ok(())
}

/// Changes the working directory to an open one.
pub fn change_dir_to(dir: &Fd) -> Result<()> {
    // SAFETY: no memory is passed.
    unsafe { syscall!(SYS_fchdir, dir.raw())? };
    Ok(())
}

/// Whether the process may execute `path`.
pub fn access_execute(path: &CStr) -> Result<()> {
    // SAFETY: `path` is a C string.
    unsafe { syscall!(SYS_access, path, libc::X_OK)? };
    Ok(())
}

/// Maps `len` bytes of `file` from `offset` on, shared, for the life of the process.
pub fn map_shared(file: &Fd, offset: u64, len: usize) -> Result<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the kernel chooses an address that is free.
    let address = unsafe {
        syscall!(SYS_mmap, 0_usize, len, protection, libc::MAP_SHARED, file.raw(), offset)?
    };
    NonNull::new(ptr::with_exposed_provenance_mut(address)).ok_or(Errno::INVAL)
}
