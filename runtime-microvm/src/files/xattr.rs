//! Extended attributes.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{XattrFlags, getxattr, listxattr, removexattr, setxattr};
use rustix::io::Errno;

use super::fuse::{Bytes, Header};
use super::reply::Reply;
use super::server::{Outcome, Server, path_of};

/// Limits of the kernel: `XATTR_LIST_MAX` and `XATTR_SIZE_MAX`.
const MAX: usize = 64 << 10;
/// Access control lists, which the guest would have to enforce and does not.
const ACL: &[u8] = b"system.posix_acl_";

fn name<'a>(body: &mut Bytes<'a>) -> Result<&'a OsStr, Errno> {
    match body.text()? {
        b"" => Err(Errno::INVAL),
        text if text.starts_with(ACL) => Err(Errno::OPNOTSUPP),
        text => Ok(OsStr::from_bytes(text)),
    }
}

/// `value`, or how long it is when `size` is 0.
fn sized(value: &[u8], size: usize) -> Outcome {
    let mut reply = Reply::default();
    if size == 0 {
        reply.u32(u32::try_from(value.len()).unwrap_or(0)).u32(0);
    } else if value.len() > size {
        return Err(Errno::RANGE);
    } else {
        reply.0.extend_from_slice(value);
    }
    Ok(reply)
}

impl Server {
    pub(super) fn getxattr(&mut self, header: &Header, mut body: Bytes<'_>) -> Outcome {
        let size = usize::try_from(body.u32()?).unwrap_or(0);
        body.u32()?;
        let name = name(&mut body)?;
        let mut value = vec![0; MAX];
        let path = path_of(self.node(header.node)?.fd.as_fd());
        let len = getxattr(path, name, &mut value[..])?;
        sized(&value[..len], size)
    }

    pub(super) fn setxattr(&mut self, header: &Header, mut body: Bytes<'_>) -> Outcome {
        let size = usize::try_from(body.u32()?).unwrap_or(usize::MAX);
        let flags = XattrFlags::from_bits(body.u32()?).ok_or(Errno::INVAL)?;
        let name = name(&mut body)?;
        let value = body.0.get(..size).ok_or(Errno::INVAL)?;
        setxattr(path_of(self.node(header.node)?.fd.as_fd()), name, value, flags)?;
        Ok(Reply::default())
    }

    pub(super) fn listxattr(&mut self, header: &Header, mut body: Bytes<'_>) -> Outcome {
        let size = usize::try_from(body.u32()?).unwrap_or(0);
        let mut names = vec![0; MAX];
        let path = path_of(self.node(header.node)?.fd.as_fd());
        let len = listxattr(path, &mut names[..])?;
        let mut shown = Vec::new();
        for name in names[..len].split_inclusive(|byte| *byte == 0) {
            if !name.starts_with(ACL) {
                shown.extend_from_slice(name);
            }
        }
        sized(&shown, size)
    }

    pub(super) fn removexattr(&mut self, header: &Header, mut body: Bytes<'_>) -> Outcome {
        let name = name(&mut body)?;
        removexattr(path_of(self.node(header.node)?.fd.as_fd()), name)?;
        Ok(Reply::default())
    }
}
