//! The file server: a process beside the monitor that answers the guest's FUSE requests
//! on the directories a sandbox shares with the host.
//!
//! The monitor has no file of the host but its disk, and a guest that took it over would
//! still have none: it could only ask this process, as before. This process in turn sees
//! nothing but what is shared. It has gone into a mount namespace whose root is an empty
//! filesystem with the shares mounted in it, has no network, few capabilities and few
//! system calls. A path is never looked up: each name is opened by itself, below its
//! directory, without following links, so that a symbolic link is nothing but a text for
//! the guest to interpret. What is above a share's root is not there.
//!
//! Between the two there are a socket, on which lengths travel, and a window of memory,
//! in which requests and answers do.

mod attributes;
mod data;
mod entries;
mod fuse;
mod inodes;
mod jail;
mod list;
mod process;
mod reply;
mod seccomp;
mod server;
mod window;
mod xattr;

pub(crate) use process::{FileServer, FilesError, Share};
#[cfg(test)]
pub(crate) use server::Server;
pub(crate) use server::main;
pub(crate) use window::{MAX_TRANSFER, WINDOW_LEN, Window};

/// First argument of the monitor that makes it a file server.
pub(crate) const FILES: &str = "--files";
