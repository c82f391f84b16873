//! What belongs to a file: owner, mode, size, times.

use std::os::fd::AsFd;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, chmodat, chownat, fstatfs,
    ftruncate, utimensat,
};
use rustix::io::Errno;

use super::fuse::{Bytes, Header, fattr};
use super::jail::without_fsetid;
use super::reply::Reply;
use super::server::{Outcome, Server, path_of, stat};

/// `UTIME_NOW` and `UTIME_OMIT` (linux/stat.h).
const NOW: i64 = 0x3fff_ffff;
const OMIT: i64 = 0x3fff_fffe;

/// `struct fuse_setattr_in`.
struct Wanted {
    valid: u32,
    size: u64,
    atime: Timespec,
    mtime: Timespec,
    mode: u32,
    owner: (u32, u32),
}

impl Wanted {
    fn read(mut body: Bytes<'_>) -> Result<Self, Errno> {
        let valid = body.u32()?;
        body.u32()?;
        body.u64()?;
        let size = body.u64()?;
        body.u64()?;
        let (atime, mtime) = (body.u64()?, body.u64()?);
        body.u64()?;
        let (atime_ns, mtime_ns) = (body.u32()?, body.u32()?);
        body.u32()?;
        let mode = body.u32()?;
        body.u32()?;
        let owner = (body.u32()?, body.u32()?);
        let time = |set: u32, now: u32, seconds: u64, ns: u32| Timespec {
            tv_sec: seconds.cast_signed(),
            tv_nsec: match valid {
                valid if valid & now != 0 => NOW,
                valid if valid & set != 0 => ns.into(),
                _ => OMIT,
            },
        };
        let atime = time(fattr::ATIME, fattr::ATIME_NOW, atime, atime_ns);
        let mtime = time(fattr::MTIME, fattr::MTIME_NOW, mtime, mtime_ns);
        Ok(Self { valid, size, atime, mtime, mode, owner })
    }

    fn has(&self, what: u32) -> bool {
        self.valid & what != 0
    }
}

impl Server {
    pub(super) fn getattr(&mut self, header: &Header) -> Outcome {
        let stat = stat(&self.node(header.node)?.fd)?;
        let mut reply = Reply::default();
        reply.attr_out(&stat, &mut self.devices);
        Ok(reply)
    }

    pub(super) fn setattr(&mut self, header: &Header, body: Bytes<'_>) -> Outcome {
        let wanted = Wanted::read(body)?;
        let inode = self.node(header.node)?;
        let (path, kind) = (path_of(inode.fd.as_fd()), inode.kind);
        // The owner first: it takes the setuid bit with it.
        if wanted.has(fattr::UID | fattr::GID) {
            let user = wanted.has(fattr::UID).then(|| Uid::from_raw(wanted.owner.0));
            let group = wanted.has(fattr::GID).then(|| Gid::from_raw(wanted.owner.1));
            chownat(&inode.fd, "", user, group, AtFlags::EMPTY_PATH)?;
        }
        if wanted.has(fattr::MODE) {
            if kind == FileType::Symlink {
                return Err(Errno::OPNOTSUPP);
            }
            chmodat(CWD, &*path, Mode::from_raw_mode(wanted.mode & 0o7777), AtFlags::empty())?;
        }
        if wanted.has(fattr::SIZE) {
            let file = self.file(header.node, true)?;
            let cut = || ftruncate(file, wanted.size);
            if wanted.has(fattr::KILL_SUIDGID) { without_fsetid(cut)? } else { cut()? }
        }
        let times = fattr::ATIME | fattr::MTIME | fattr::ATIME_NOW | fattr::MTIME_NOW;
        if wanted.has(times) {
            let times =
                Timestamps { last_access: wanted.atime, last_modification: wanted.mtime };
            utimensat(CWD, &*path, &times, AtFlags::empty())?;
        }
        self.getattr(header)
    }

    pub(super) fn statfs(&mut self, header: &Header) -> Outcome {
        let found = fstatfs(&self.node(header.node)?.fd)?;
        let small = |value: i64| u32::try_from(value).unwrap_or(u32::MAX);
        let mut reply = Reply::default();
        reply.u64(found.f_blocks).u64(found.f_bfree).u64(found.f_bavail);
        reply.u64(found.f_files).u64(found.f_ffree).u32(small(found.f_bsize));
        reply.u32(small(found.f_namelen)).u32(small(found.f_frsize)).zeros(28);
        Ok(reply)
    }
}
