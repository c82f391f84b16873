//! Names: finding, making and removing what is in a directory.
//!
//! A name is one component and is never followed: what a link says is for the guest.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, linkat, mkdirat, mknodat, openat,
    readlinkat, renameat_with, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::fuse::{self, Bytes, Header};
use super::inodes::Open;
use super::jail;
use super::reply::Reply;
use super::server::{Outcome, Server, path_of, stat};

/// Longest name (`NAME_MAX`, linux/limits.h).
const NAME_MAX: usize = 255;
/// Bits of a mode that a request may set.
const PERMISSIONS: u32 = 0o7777;
/// To know a file by.
const KNOW: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// One component of a path.
fn name<'a>(body: &mut Bytes<'a>) -> Result<&'a OsStr, Errno> {
    match body.text()? {
        b"" | b"." | b".." => Err(Errno::INVAL),
        text if text.contains(&b'/') => Err(Errno::INVAL),
        text if text.len() > NAME_MAX => Err(Errno::NAMETOOLONG),
        text => Ok(OsStr::from_bytes(text)),
    }
}

impl Server {
    /// What is called `name` in a directory, to be told of.
    pub(super) fn find(&mut self, dir: u64, name: &OsStr) -> Outcome {
        let fd = self.know(dir, name)?;
        self.tell(fd)
    }

    fn know(&mut self, dir: u64, name: &OsStr) -> Result<OwnedFd, Errno> {
        match openat(&self.node(dir)?.fd, name, KNOW, Mode::empty()) {
            Err(Errno::MFILE) => {
                self.inodes.close_idle(None);
                let again = openat(&self.node(dir)?.fd, name, KNOW, Mode::empty());
                again.map_err(|errno| if errno == Errno::MFILE { Errno::NFILE } else { errno })
            }
            other => other,
        }
    }

    fn tell(&mut self, fd: OwnedFd) -> Outcome {
        let stat = stat(&fd)?;
        let id = self.inodes.tell(fd, &stat);
        let mut reply = Reply::default();
        reply.entry(id, &stat, &mut self.devices);
        Ok(reply)
    }

    /// What is made from here on belongs to whoever asks.
    fn become_maker(&mut self, header: &Header) -> Result<(), Errno> {
        let maker = (header.uid, header.gid);
        if self.maker != maker {
            jail::make_files_as(maker)?;
            self.maker = maker;
        }
        Ok(())
    }

    pub(super) fn lookup(&mut self, header: &Header, mut body: Bytes<'_>) -> Outcome {
        self.find(header.node, name(&mut body)?)
    }

    pub(super) fn mkdir(&mut self, header: &Header, mut body: Bytes<'_>) -> Outcome {
        let mode = Mode::from_raw_mode(body.u32()? & PERMISSIONS);
        body.u32()?;
        let name = name(&mut body)?;
        self.become_maker(header)?;
        mkdirat(&self.node(header.node)?.fd, name, mode)?;
        self.find(header.node, name)
    }

    /// Files, FIFOs and sockets; a device of the host is nothing a guest makes.
    pub(super) fn mknod(&mut self, header: &Header, mut body: Bytes<'_>) -> Outcome {
        let mode = body.u32()?;
        body.u32()?;
        body.u64()?;
        let name = name(&mut body)?;
        let kind = FileType::from_raw_mode(mode);
        if !matches!(kind, FileType::RegularFile | FileType::Fifo | FileType::Socket) {
            return Err(Errno::PERM);
        }
        self.become_maker(header)?;
        let permissions = Mode::from_raw_mode(mode & PERMISSIONS);
        mknodat(&self.node(header.node)?.fd, name, kind, permissions, 0)?;
        self.find(header.node, name)
    }

    pub(super) fn symlink(&mut self, header: &Header, mut body: Bytes<'_>) -> Outcome {
        let name = name(&mut body)?;
        let target = OsStr::from_bytes(body.text()?);
        self.become_maker(header)?;
        symlinkat(target, &self.node(header.node)?.fd, name)?;
        self.find(header.node, name)
    }

    /// Makes a file and has it open, or finds the one that is there.
    pub(super) fn create(&mut self, header: &Header, mut body: Bytes<'_>) -> Outcome {
        let (flags, mode) = (body.u32()?, body.u32()?);
        body.u64()?;
        let name = name(&mut body)?;
        self.become_maker(header)?;
        let how = OFlags::RDWR
            | OFlags::CREATE
            | OFlags::EXCL
            | OFlags::NOFOLLOW
            | OFlags::CLOEXEC
            | OFlags::NONBLOCK;
        let permissions = Mode::from_raw_mode(mode & PERMISSIONS);
        let exclusive = flags & libc::O_EXCL.cast_unsigned() != 0;
        let mut reply = match openat(&self.node(header.node)?.fd, name, how, permissions) {
            Ok(file) => {
                let fd = openat(
                    CWD,
                    path_of(file.as_fd()),
                    OFlags::PATH | OFlags::CLOEXEC,
                    Mode::empty(),
                )?;
                let stat = stat(&fd)?;
                let id = self.inodes.tell(fd, &stat);
                if let Some(inode) = self.inodes.get_mut(id) {
                    let file = File::from(file);
                    inode.open = Some(Open { file, writable: true, used: Instant::now() });
                }
                let mut reply = Reply::default();
                reply.entry(id, &stat, &mut self.devices);
                reply
            }
            // Somebody else has made it since the guest looked.
            Err(Errno::EXIST) if !exclusive => self.find(header.node, name)?,
            Err(errno) => return Err(errno),
        };
        reply.open(0, fuse::FOPEN_KEEP_CACHE);
        Ok(reply)
    }

    pub(super) fn remove(
        &mut self,
        header: &Header,
        mut body: Bytes<'_>,
        how: AtFlags,
    ) -> Outcome {
        unlinkat(&self.node(header.node)?.fd, name(&mut body)?, how)?;
        Ok(Reply::default())
    }

    pub(super) fn rename(
        &mut self,
        header: &Header,
        mut body: Bytes<'_>,
        has_flags: bool,
    ) -> Outcome {
        let to_dir = body.u64()?;
        let flags = if has_flags { body.u32()? } else { 0 };
        if has_flags {
            body.u32()?;
        }
        let flags = RenameFlags::from_bits(flags).ok_or(Errno::INVAL)?;
        if flags.contains(RenameFlags::WHITEOUT) {
            return Err(Errno::INVAL);
        }
        let (from, to) = (name(&mut body)?, name(&mut body)?);
        renameat_with(&self.node(header.node)?.fd, from, &self.node(to_dir)?.fd, to, flags)?;
        Ok(Reply::default())
    }

    pub(super) fn link(&mut self, header: &Header, mut body: Bytes<'_>) -> Outcome {
        let existing = body.u64()?;
        let name = name(&mut body)?;
        let from = path_of(self.node(existing)?.fd.as_fd());
        let to = &self.node(header.node)?.fd;
        linkat(CWD, from, to, name, AtFlags::SYMLINK_FOLLOW)?;
        self.find(header.node, name)
    }

    pub(super) fn readlink(&mut self, header: &Header) -> Outcome {
        let target = readlinkat(&self.node(header.node)?.fd, "", Vec::new())?;
        Ok(Reply(target.into_bytes()))
    }
}
