//! The content of files.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use rustix::fs::{FallocateFlags, FileType, OFlags, SeekFrom};
use rustix::io::Errno;

use super::fuse::{self, Bytes, Header, IN_HEADER, OUT_HEADER};
use super::jail::without_fsetid;
use super::reply::Reply;
use super::server::{Outcome, Server, reopen};
use super::{MAX_TRANSFER, WINDOW_LEN};

/// Length of `struct fuse_write_in`.
pub const WRITE_BODY: usize = 40;
/// Most bytes copied from file to file in one request: the guest waits meanwhile.
const MAX_COPY: usize = 16 << 20;

impl Server {
    /// The node's file, open; opened when there is need.
    pub(super) fn file(&mut self, node: u64, writable: bool) -> Result<&File, Errno> {
        let needed = |open: &super::inodes::Open| writable && !open.writable;
        let inode = self.inodes.get_mut(node).ok_or(Errno::STALE)?;
        if inode.kind != FileType::RegularFile {
            return Err(Errno::INVAL);
        }
        if inode.open.as_ref().is_none_or(needed) {
            let flags = if writable { OFlags::RDWR } else { OFlags::RDONLY };
            let (fd, kind) = (inode.fd.as_fd(), inode.kind);
            let file = match reopen(fd, kind, flags) {
                Err(Errno::MFILE) => {
                    self.inodes.close_idle(None);
                    let inode = self.inodes.get(node).ok_or(Errno::STALE)?;
                    reopen(inode.fd.as_fd(), kind, flags).map_err(|errno| match errno {
                        Errno::MFILE => Errno::NFILE,
                        other => other,
                    })?
                }
                other => other?,
            };
            let inode = self.inodes.get_mut(node).ok_or(Errno::STALE)?;
            inode.open = Some(super::inodes::Open { file, writable, used: Instant::now() });
        }
        let inode = self.inodes.get_mut(node).ok_or(Errno::STALE)?;
        let open = inode.open.as_mut().ok_or(Errno::BADF)?;
        open.used = Instant::now();
        Ok(&open.file)
    }

    /// Reads into the window; how much.
    pub(super) fn read(
        &mut self,
        header: &Header,
        mut body: Bytes<'_>,
    ) -> Result<usize, Errno> {
        body.u64()?;
        let (offset, size) = (body.u64()?, usize::try_from(body.u32()?).unwrap_or(0));
        let size = size.min(MAX_TRANSFER);
        let fd = self.file(header.node, false)?.as_raw_fd();
        let mut done = 0;
        while done < size {
            let (to, room) = self.window.at(OUT_HEADER + done);
            let at = libc::off_t::try_from(offset).map_err(|_| Errno::INVAL)?;
            let at = at.checked_add_unsigned(done as u64).ok_or(Errno::INVAL)?;
            // SAFETY: `to` is valid for writes of `room` bytes; that another process may
            // look on is its own affair.
            let read = unsafe { libc::pread(fd, to.cast(), room.min(size - done), at) };
            match usize::try_from(read) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(_) => match last_error() {
                    Errno::INTR => {}
                    _ if done > 0 => break,
                    errno => return Err(errno),
                },
            }
        }
        Ok(done)
    }

    /// Writes from the window.
    pub(super) fn write(
        &mut self,
        header: &Header,
        mut body: Bytes<'_>,
        len: usize,
    ) -> Outcome {
        body.u64()?;
        let (offset, size) = (body.u64()?, usize::try_from(body.u32()?).unwrap_or(usize::MAX));
        let how = body.u32()?;
        body.u64()?;
        let flags = body.u32()?;
        let start = IN_HEADER + WRITE_BODY;
        if start.checked_add(size).is_none_or(|end| end > len || end > WINDOW_LEN) {
            return Err(Errno::INVAL);
        }
        // As an append to whatever the file has become: the other wall may write, too.
        let append = flags & libc::O_APPEND.cast_unsigned() != 0;
        let fd = self.file(header.node, true)?.as_raw_fd();
        let from = |done| {
            let (from, _) = self.window.at(start + done);
            libc::iovec { iov_base: from.cast(), iov_len: size - done }
        };
        let write = || -> Result<usize, Errno> {
            let mut done = 0;
            while done < size {
                let at = libc::off_t::try_from(offset).map_err(|_| Errno::INVAL)?;
                let at = at.checked_add_unsigned(done as u64).ok_or(Errno::FBIG)?;
                let piece = from(done);
                let how = if append { libc::RWF_APPEND } else { 0 };
                // SAFETY: the piece lies in the window; that another process may change it
                // is its own affair.
                let written = unsafe { libc::pwritev2(fd, &raw const piece, 1, at, how) };
                match usize::try_from(written) {
                    Ok(0) => break,
                    Ok(written) => done += written,
                    Err(_) => match last_error() {
                        Errno::INTR => {}
                        _ if done > 0 => break,
                        errno => return Err(errno),
                    },
                }
            }
            Ok(done)
        };
        let kill = how & fuse::WRITE_KILL_SUIDGID != 0;
        let done = if kill { without_fsetid(write)? } else { write()? };
        let mut reply = Reply::default();
        reply.u32(u32::try_from(done).unwrap_or(0)).u32(0);
        Ok(reply)
    }

    /// Brings a file or directory to the disk.
    pub(super) fn fsync(&mut self, header: &Header, mut body: Bytes<'_>) -> Outcome {
        body.u64()?;
        let data_only = body.u32()? & fuse::FSYNC_FDATASYNC != 0;
        let inode = self.node(header.node)?;
        if inode.kind == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY;
            rustix::fs::fsync(reopen(inode.fd.as_fd(), inode.kind, flags)?)?;
        } else {
            let file = self.file(header.node, false)?;
            if data_only { rustix::fs::fdatasync(file) } else { rustix::fs::fsync(file) }?;
        }
        Ok(Reply::default())
    }

    /// Brings everything to the disk.
    pub(super) fn syncfs(&mut self) -> Outcome {
        let root = self.node(fuse::ROOT)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let listing = reopen(root.fd.as_fd(), root.kind, flags)?;
        for entry in rustix::fs::Dir::read_from(&listing)? {
            let name = entry?.file_name().to_owned();
            if name.as_bytes() == b".." {
                continue;
            }
            let how = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let share = rustix::fs::openat(&listing, &name, how, rustix::fs::Mode::empty())?;
            rustix::fs::syncfs(&share)?;
        }
        Ok(Reply::default())
    }

    /// Makes room, or a hole.
    pub(super) fn fallocate(&mut self, header: &Header, mut body: Bytes<'_>) -> Outcome {
        body.u64()?;
        let (offset, len, mode) = (body.u64()?, body.u64()?, body.u32()?);
        let mode = FallocateFlags::from_bits(mode).ok_or(Errno::OPNOTSUPP)?;
        rustix::fs::fallocate(self.file(header.node, true)?, mode, offset, len)?;
        Ok(Reply::default())
    }

    /// Finds data and holes.
    pub(super) fn lseek(&mut self, header: &Header, mut body: Bytes<'_>) -> Outcome {
        body.u64()?;
        let (offset, whence) = (body.u64()?, body.u32()?);
        let to = match libc::c_int::try_from(whence) {
            Ok(libc::SEEK_DATA) => SeekFrom::Data(offset),
            Ok(libc::SEEK_HOLE) => SeekFrom::Hole(offset),
            _ => return Err(Errno::INVAL),
        };
        let found = rustix::fs::seek(self.file(header.node, false)?, to)?;
        let mut reply = Reply::default();
        reply.u64(found);
        Ok(reply)
    }

    /// Copies from file to file without the guest's help.
    pub(super) fn copy_range(&mut self, header: &Header, mut body: Bytes<'_>) -> Outcome {
        body.u64()?;
        let (mut from_at, to_node) = (body.u64()?, body.u64()?);
        body.u64()?;
        let (mut to_at, len, flags) = (body.u64()?, body.u64()?, body.u64()?);
        if flags != 0 {
            return Err(Errno::INVAL);
        }
        let from = self.file(header.node, false)?.try_clone().map_err(errno_of)?;
        let to = self.file(to_node, true)?;
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(MAX_COPY);
        let done =
            rustix::fs::copy_file_range(&from, Some(&mut from_at), to, Some(&mut to_at), len)?;
        let mut reply = Reply::default();
        reply.u32(u32::try_from(done).unwrap_or(0)).u32(0);
        Ok(reply)
    }
}

fn last_error() -> Errno {
    errno_of(io::Error::last_os_error())
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
fn errno_of(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
