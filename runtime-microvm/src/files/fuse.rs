//! The part of the FUSE protocol that a share needs (linux/fuse.h, version 7.31 and
//! later): numbers, and the layout of what is received.

/// The version spoken.
pub const MAJOR: u32 = 7;
/// The oldest minor version that is understood: Linux 5.4, the first with virtio-fs.
pub const OLDEST_MINOR: u32 = 31;
/// Newest minor version known.
pub const MINOR: u32 = 37;

/// Length of `struct fuse_in_header`.
pub const IN_HEADER: usize = 40;
/// Length of `struct fuse_out_header`.
pub const OUT_HEADER: usize = 16;

/// Node id of the root.
pub const ROOT: u64 = 1;

/// `enum fuse_opcode`.
pub mod op {
    pub const LOOKUP: u32 = 1;
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const SETATTR: u32 = 4;
    pub const READLINK: u32 = 5;
    pub const SYMLINK: u32 = 6;
    pub const MKNOD: u32 = 8;
    pub const MKDIR: u32 = 9;
    pub const UNLINK: u32 = 10;
    pub const RMDIR: u32 = 11;
    pub const RENAME: u32 = 12;
    pub const LINK: u32 = 13;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const STATFS: u32 = 17;
    pub const FSYNC: u32 = 20;
    pub const SETXATTR: u32 = 21;
    pub const GETXATTR: u32 = 22;
    pub const LISTXATTR: u32 = 23;
    pub const REMOVEXATTR: u32 = 24;
    pub const INIT: u32 = 26;
    pub const OPENDIR: u32 = 27;
    pub const READDIR: u32 = 28;
    pub const RELEASEDIR: u32 = 29;
    pub const FSYNCDIR: u32 = 30;
    pub const CREATE: u32 = 35;
    pub const INTERRUPT: u32 = 36;
    pub const DESTROY: u32 = 38;
    pub const BATCH_FORGET: u32 = 42;
    pub const FALLOCATE: u32 = 43;
    pub const READDIRPLUS: u32 = 44;
    pub const RENAME2: u32 = 45;
    pub const LSEEK: u32 = 46;
    pub const COPY_FILE_RANGE: u32 = 47;
    pub const SYNCFS: u32 = 50;
}

/// `INIT` flags.
pub mod init {
    pub const ASYNC_READ: u32 = 1 << 0;
    pub const BIG_WRITES: u32 = 1 << 5;
    pub const AUTO_INVAL_DATA: u32 = 1 << 12;
    pub const DO_READDIRPLUS: u32 = 1 << 13;
    pub const READDIRPLUS_AUTO: u32 = 1 << 14;
    pub const NO_OPEN_SUPPORT: u32 = 1 << 17;
    pub const PARALLEL_DIROPS: u32 = 1 << 18;
    pub const MAX_PAGES: u32 = 1 << 22;
    pub const CACHE_SYMLINKS: u32 = 1 << 23;
    pub const HANDLE_KILLPRIV_V2: u32 = 1 << 28;
}

/// `fuse_setattr_in.valid`.
pub mod fattr {
    pub const MODE: u32 = 1 << 0;
    pub const UID: u32 = 1 << 1;
    pub const GID: u32 = 1 << 2;
    pub const SIZE: u32 = 1 << 3;
    pub const ATIME: u32 = 1 << 4;
    pub const MTIME: u32 = 1 << 5;
    pub const ATIME_NOW: u32 = 1 << 7;
    pub const MTIME_NOW: u32 = 1 << 8;
    pub const KILL_SUIDGID: u32 = 1 << 11;
}

/// `FUSE_WRITE_KILL_SUIDGID`.
pub const WRITE_KILL_SUIDGID: u32 = 1 << 2;
/// `FOPEN_KEEP_CACHE`.
pub const FOPEN_KEEP_CACHE: u32 = 1 << 1;
/// `FUSE_FSYNC_FDATASYNC`.
pub const FSYNC_FDATASYNC: u32 = 1 << 0;

/// `struct fuse_in_header`.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    pub len: usize,
    pub opcode: u32,
    pub unique: u64,
    pub node: u64,
    pub uid: u32,
    pub gid: u32,
}

/// Bytes of a request, taken from the front.
#[derive(Debug, Clone, Copy)]
pub struct Bytes<'a>(pub &'a [u8]);

/// A request that is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutOff;

impl<'a> Bytes<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], CutOff> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(CutOff)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// The next 32 bits.
    pub fn u32(&mut self) -> Result<u32, CutOff> {
        self.take().map(u32::from_le_bytes)
    }

    /// The next 64 bits.
    pub fn u64(&mut self) -> Result<u64, CutOff> {
        self.take().map(u64::from_le_bytes)
    }

    /// The next text, which a NUL byte ends.
    pub fn text(&mut self) -> Result<&'a [u8], CutOff> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(CutOff)?;
        let (text, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        Ok(text)
    }

    /// The header.
    pub fn header(&mut self) -> Result<Header, CutOff> {
        let len = usize::try_from(self.u32()?).map_err(|_| CutOff)?;
        let (opcode, unique, node) = (self.u32()?, self.u64()?, self.u64()?);
        let (uid, gid) = (self.u32()?, self.u32()?);
        // Process id and reserved.
        self.u64()?;
        Ok(Header { len, opcode, unique, node, uid, gid })
    }
}

/// A device number as the kernel's protocols have it (`new_encode_dev`,
/// linux/kdev_t.h).
#[must_use]
pub fn device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}
