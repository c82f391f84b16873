//! Putting an answer together.

use rustix::fs::Statx;

use super::fuse;
use super::inodes::Devices;

/// How long the guest may rely on what it was told of a name or a file, seconds: that
/// late it sees what others change.
const VALID_S: u64 = 1;
/// Where the number of a filesystem goes in the number of a file.
const DEVICE_SHIFT: u32 = 48;

/// The body of an answer.
#[derive(Debug, Default)]
pub struct Reply(pub Vec<u8>);

impl Reply {
    /// Adds 32 bits.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Adds 16 bits.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Adds 64 bits.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Adds zeros up to a multiple of eight bytes.
    pub fn pad(&mut self) -> &mut Self {
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        self
    }

    /// Adds zeros.
    pub fn zeros(&mut self, count: usize) -> &mut Self {
        self.0.resize(self.0.len() + count, 0);
        self
    }

    /// Adds `struct fuse_attr`.
    pub fn attr(&mut self, stat: &Statx, devices: &mut Devices) -> &mut Self {
        let ino = number(stat.stx_ino, devices.index((stat.stx_dev_major, stat.stx_dev_minor)));
        self.u64(ino).u64(stat.stx_size).u64(stat.stx_blocks);
        let times = [stat.stx_atime, stat.stx_mtime, stat.stx_ctime];
        for time in &times {
            self.u64(time.tv_sec.cast_unsigned());
        }
        for time in &times {
            self.u32(time.tv_nsec);
        }
        self.u32(stat.stx_mode.into()).u32(stat.stx_nlink).u32(stat.stx_uid).u32(stat.stx_gid);
        self.u32(fuse::device(stat.stx_rdev_major, stat.stx_rdev_minor));
        self.u32(stat.stx_blksize).u32(0)
    }

    /// Adds `struct fuse_attr_out`.
    pub fn attr_out(&mut self, stat: &Statx, devices: &mut Devices) -> &mut Self {
        self.u64(VALID_S).u32(0).u32(0).attr(stat, devices)
    }

    /// Adds `struct fuse_entry_out`.
    pub fn entry(&mut self, node: u64, stat: &Statx, devices: &mut Devices) -> &mut Self {
        // Node ids are not used again: one generation.
        self.u64(node).u64(0).u64(VALID_S).u64(VALID_S).u32(0).u32(0).attr(stat, devices)
    }

    /// Adds `struct fuse_open_out` of a file: not a handle, the node is enough.
    pub fn open(&mut self, handle: u64, flags: u32) -> &mut Self {
        self.u64(handle).u32(flags).u32(0)
    }
}

/// One number for each file of all shares, which may be on several filesystems.
pub fn number(ino: u64, device: u64) -> u64 {
    ino ^ (device << DEVICE_SHIFT)
}
