//! What a workload has changed in the root filesystem, handed to the host.
//!
//! The writable layer is an overlayfs upper directory on a filesystem in memory that no
//! path leads to once the machine is up. PID 1 keeps it open; the init of a workload
//! whose changes are wanted writes it out, as it is, when everything that could still
//! change it is gone.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::ffi::CString;
use alloc::vec::Vec;
use core::ffi::{CStr, c_int};
use core::sync::atomic::{AtomicI32, Ordering};

use super::sys::{self, Errno, Fd};
use super::tarball::{self, Entry, Kind};

/// The upper directory, open for the life of the machine.
static UPPER: AtomicI32 = AtomicI32::new(-1);

/// Bytes that are written at once.
const PIECE: usize = 64 * 1024;

/// Where the archive goes, and where the upper directory is, in the process that packs.
const OUT: c_int = libc::STDOUT_FILENO;
const ROOT: c_int = libc::STDIN_FILENO;

/// Keeps the upper directory at `path` within reach.
pub fn keep(path: &CStr) -> sys::Result<()> {
    let upper = sys::open(path, libc::O_RDONLY | libc::O_DIRECTORY)?;
    UPPER.store(upper.raw(), Ordering::Relaxed);
    upper.leak();
    Ok(())
}

/// Has this process hold only what it takes to pack: the upper directory, `out` and the
/// standard error output `err`.
///
/// # Safety
///
/// No other [`Fd`] may be used or dropped afterwards.
pub unsafe fn prepare(out: &Fd, err: &Fd) -> sys::Result<()> {
    let upper = UPPER.load(Ordering::Relaxed);
    // Each out of the way of the others first.
    let (out, err) = (sys::duplicate(out)?, sys::duplicate(err)?);
    sys::dup_onto(upper, ROOT)?;
    sys::dup_onto(out.raw(), OUT)?;
    sys::dup_onto(err.raw(), libc::STDERR_FILENO)?;
    out.leak();
    err.leak();
    // SAFETY: the caller vouches for the descriptors.
    unsafe { sys::close_range_from(libc::STDERR_FILENO + 1) };
    Ok(())
}

/// Ends everything else in this process's pid namespace, of which it is PID 1, and
/// writes out what there is.
pub fn pack() -> sys::Result<()> {
    /// Everybody but PID 1 (kill(2)).
    const EVERYBODY: c_int = -1;
    match sys::kill(EVERYBODY, libc::SIGKILL) {
        Err(Errno(libc::ESRCH)) => {}
        other => other?,
    }
    while let Ok(Some(_)) = sys::wait(-1, 0) {}
    let mut packer = Packer { out: Vec::with_capacity(2 * PIECE), links: BTreeMap::new() };
    let packed = packer.all();
    packed.and_then(|()| {
        tarball::end(&mut packer.out);
        packer.flush()
    })
}

/// A directory on the way down.
struct Level {
    dir: Fd,
    names: Vec<CString>,
    /// Length of its path.
    path: usize,
}

struct Packer {
    out: Vec<u8>,
    /// The first name of files that have several.
    links: BTreeMap<u64, Vec<u8>>,
}

impl Packer {
    fn all(&mut self) -> sys::Result<()> {
        // SAFETY: `prepare` has put it there for nobody else.
        let root = unsafe { Fd::from_raw(ROOT) };
        let mut path = Vec::new();
        let mut levels = Vec::new();
        let names = names(&root)?;
        levels.push(Level { dir: root, names, path: 0 });
        while let Some(level) = levels.last_mut() {
            sys::change_dir_to(&level.dir)?;
            path.truncate(level.path);
            let Some(name) = level.names.pop() else {
                levels.pop();
                continue;
            };
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.to_bytes());
            let stat = sys::lstat(&name)?;
            self.one(&name, &path, &stat)?;
            if stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
                let dir =
                    sys::open(&name, libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW)?;
                let names = self::names(&dir)?;
                levels.push(Level { dir, names, path: path.len() });
            }
        }
        Ok(())
    }

    /// Writes what is called `name` in the working directory.
    fn one(&mut self, name: &CStr, path: &[u8], stat: &libc::stat) -> sys::Result<()> {
        let kind = match stat.st_mode & libc::S_IFMT {
            libc::S_IFDIR => Kind::Directory,
            libc::S_IFREG => Kind::File,
            libc::S_IFLNK => Kind::Symlink,
            libc::S_IFCHR => Kind::Character,
            libc::S_IFBLK => Kind::Block,
            libc::S_IFIFO => Kind::Fifo,
            // A socket is nothing without its process.
            _ => return Ok(()),
        };
        let mut link = Vec::new();
        if kind == Kind::Symlink {
            sys::read_link(name, &mut link)?;
        }
        let xattrs = xattrs(name)?;
        // A deletion is a link to one node that they all share, as far as the kernel can.
        let is_deletion = kind == Kind::Character && stat.st_rdev == 0;
        let mut first = None;
        if stat.st_nlink > 1 && kind != Kind::Directory && !is_deletion {
            first = self.links.get(&stat.st_ino).cloned();
            self.links.entry(stat.st_ino).or_insert_with(|| path.to_vec());
        }
        let mut entry = Entry {
            kind,
            path,
            link: &link,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: 0,
            mtime: stat.st_mtime,
            device: (libc::major(stat.st_rdev), libc::minor(stat.st_rdev)),
            xattrs: &xattrs,
        };
        if let Some(first) = &first {
            entry.kind = Kind::Link;
            entry.link = first;
            entry.put(&mut self.out);
            return self.flush_when_full();
        }
        if kind != Kind::File {
            entry.put(&mut self.out);
            return self.flush_when_full();
        }
        let file = sys::open(name, libc::O_RDONLY | libc::O_NOFOLLOW)?;
        entry.size = u64::try_from(stat.st_size).unwrap_or(0);
        entry.put(&mut self.out);
        self.content(&file, entry.size)
    }

    fn content(&mut self, file: &Fd, size: u64) -> sys::Result<()> {
        let mut left = size;
        while left > 0 {
            self.flush_when_full()?;
            let most = PIECE.min(usize::try_from(left).unwrap_or(PIECE));
            self.out.reserve(most);
            match sys::read_append(file, &mut self.out, most)? {
                // Nobody is there who could have cut it.
                0 => return Err(Errno(libc::EIO)),
                count => left -= count as u64,
            }
        }
        tarball::pad(size, &mut self.out);
        self.flush_when_full()
    }

    fn flush_when_full(&mut self) -> sys::Result<()> {
        if self.out.len() >= PIECE { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> sys::Result<()> {
        let mut rest = self.out.as_slice();
        while !rest.is_empty() {
            match sys::write_raw(OUT, rest) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        self.out.clear();
        Ok(())
    }
}

/// The names in a directory.
fn names(dir: &Fd) -> sys::Result<Vec<CString>> {
    let mut names = Vec::new();
    let mut buffer = Vec::with_capacity(16 * 1024);
    loop {
        buffer.clear();
        if sys::directory_entries(dir, &mut buffer)? == 0 {
            return Ok(names);
        }
        let mut rest = buffer.as_slice();
        // struct linux_dirent64: inode, offset, length, type, name (getdents64(2)).
        while let Some(length) = rest.get(16..18) {
            let length = usize::from(u16::from_ne_bytes([length[0], length[1]]));
            let name = rest.get(19..length).ok_or(Errno::INVAL)?;
            let name = CStr::from_bytes_until_nul(name).map_err(|_| Errno::INVAL)?;
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(name.to_owned());
            }
            rest = &rest[length..];
        }
    }
}

/// The extended attributes of what is called `name` in the working directory.
fn xattrs(name: &CStr) -> sys::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut found = Vec::new();
    let mut list = Vec::new();
    match sys::xattr_names(name, &mut list) {
        Err(Errno(libc::EOPNOTSUPP)) => return Ok(found),
        other => other?,
    }
    for key in list.split_inclusive(|b| *b == 0) {
        let key = CStr::from_bytes_with_nul(key).map_err(|_| Errno::INVAL)?;
        let mut value = Vec::new();
        sys::xattr(name, key, &mut value)?;
        found.push((key.to_bytes().to_vec(), value));
    }
    Ok(found)
}
