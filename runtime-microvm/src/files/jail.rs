//! What the file server can see and do: the shares, and what it takes to serve them.

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;

use caps::{CapSet, Capability};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// What a file server is told at its start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setup {
    /// A directory of its own, on which its root is mounted, where only it sees that.
    pub state_dir: PathBuf,
    /// What is shared, in order: the guest finds it by its number.
    pub shares: Vec<SharedPath>,
    /// Give up every system call it does not need.
    pub seccomp: bool,
}

/// A file or directory of the host.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SharedPath {
    /// Where.
    pub path: PathBuf,
    /// It is a file.
    pub is_file: bool,
    /// Nobody writes to it, or to what is mounted below it.
    pub read_only: bool,
}

/// What making files for others takes: their owners, in directories that are others'
/// too. Whether a process may do something is for the guest's kernel to say, which
/// knows the process.
const KEPT: [Capability; 7] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_SETFCAP,
    Capability::CAP_SETGID,
    Capability::CAP_SETUID,
];

/// `SECBIT_NOROOT`, `SECBIT_NO_SETUID_FIXUP` and their locks (linux/securebits.h): a
/// change of user changes no capability.
const SECURE_BITS: libc::c_ulong = 0b1111;

/// Enters a world in which there is nothing but the shares: `/0`, `/1`, … The working
/// directory is the one with this process's descriptors as links, for opening again what
/// is open.
pub fn enter(setup: &Setup) -> io::Result<()> {
    // SAFETY: plain integers. Whoever started us may be gone; then nobody asks.
    unsafe { libc::umask(0) };
    raise_limit()?;
    let apart = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    unshare(apart)?;
    let none: Option<&str> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none)?;
    let descriptors = clone_tree(c"/proc/self/fd", 0)?;
    let trees = setup.shares.iter().map(share).collect::<io::Result<Vec<_>>>()?;

    let root = &setup.state_dir;
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("files"), root, Some("tmpfs"), quiet, Some("mode=755,size=1m"))?;
    for (index, (tree, share)) in trees.into_iter().zip(&setup.shares).enumerate() {
        let place = root.join(index.to_string());
        if share.is_file {
            fs::write(&place, "")?;
        } else {
            fs::create_dir(&place)?;
        }
        attach(&tree, &place)?;
    }
    mount(none, root, none, quiet | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, none)?;
    nix::unistd::chdir(root)?;
    nix::unistd::pivot_root(".", ".")?;
    umount2(".", MntFlags::MNT_DETACH)?;
    nix::unistd::fchdir(&descriptors)?;
    // The working directory lives as long as it is open.
    std::mem::forget(descriptors);
    give_up()
}

/// A copy of the mounts of a share, which goes nowhere yet.
fn share(share: &SharedPath) -> io::Result<OwnedFd> {
    let path = CString::new(share.path.as_os_str().as_bytes())?;
    let tree = clone_tree(&path, libc::AT_RECURSIVE.cast_unsigned())?;
    let read_only = if share.read_only { libc::MOUNT_ATTR_RDONLY } else { 0 };
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | read_only,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: `tree` is open, the path is a C string, and `attributes` is valid for reads
    // of its size.
    let set = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(tree) }
}

fn clone_tree(path: &CStr, flags: u32) -> io::Result<OwnedFd> {
    let flags = flags | libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: `path` is a C string.
    let fd =
        unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    let fd = i32::try_from(fd).map_err(|_| io::ErrorKind::InvalidData)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn attach(tree: &OwnedFd, place: &Path) -> io::Result<()> {
    let place = CString::new(place.as_os_str().as_bytes())?;
    // SAFETY: both paths are C strings.
    let moved = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            place.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    if moved < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Each file that the guest knows is open here.
fn raise_limit() -> io::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    Ok(())
}

fn give_up() -> io::Result<()> {
    nix::unistd::setgroups(&[])?;
    // SAFETY: plain integers.
    let bits = unsafe { libc::prctl(libc::PR_SET_SECUREBITS, SECURE_BITS, 0, 0, 0) };
    // SAFETY: plain integers.
    let privileges = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: plain integers. Nobody looks into us but root.
    let dumpable = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    if bits != 0 || privileges != 0 || dumpable != 0 {
        return Err(io::Error::last_os_error());
    }
    let kept = KEPT.into_iter().collect();
    let set = |which| caps::set(None, which, &kept).map_err(io::Error::other);
    let empty = |which| caps::clear(None, which).map_err(io::Error::other);
    empty(CapSet::Inheritable)?;
    empty(CapSet::Bounding)?;
    set(CapSet::Effective)?;
    set(CapSet::Permitted)
}

/// Files that are made from here on belong to this user and group.
pub fn make_files_as((user, group): (u32, u32)) -> Result<(), Errno> {
    // SAFETY: plain integers. The calls say who it was before, and nothing else.
    unsafe {
        libc::setfsgid(group);
        libc::setfsuid(user);
    }
    // Asked for an id that is none, they only answer.
    // SAFETY: as above.
    let now = unsafe { (libc::setfsuid(u32::MAX), libc::setfsgid(u32::MAX)) };
    let (is_user, is_group) = (now.0.cast_unsigned() == user, now.1.cast_unsigned() == group);
    if is_user && is_group { Ok(()) } else { Err(Errno::PERM) }
}

/// `struct __user_cap_header_struct` and one of `struct __user_cap_data_struct`
/// (linux/capability.h).
#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3`.
const CAP_VERSION: u32 = 0x2008_0522;

/// Does what takes setuid and setgid bits away when somebody without `CAP_FSETID` does
/// it.
pub fn without_fsetid<T>(action: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    let mut header = CapHeader { version: CAP_VERSION, pid: 0 };
    let mut data = [CapData::default(); 2];
    // SAFETY: both have the layout of the kernel's structures.
    let got =
        unsafe { libc::syscall(libc::SYS_capget, &raw mut header, ptr::from_mut(&mut data)) };
    if got != 0 {
        return Err(Errno::PERM);
    }
    let all = data;
    data[0].effective &= !(1 << Capability::CAP_FSETID.index());
    let mut set = |data: &[CapData; 2]| {
        // SAFETY: as above.
        let set =
            unsafe { libc::syscall(libc::SYS_capset, &raw mut header, ptr::from_ref(data)) };
        if set == 0 { Ok(()) } else { Err(Errno::PERM) }
    };
    set(&data)?;
    let outcome = action();
    set(&all)?;
    outcome
}
