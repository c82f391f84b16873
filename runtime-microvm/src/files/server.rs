//! Takes one request after the other.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Statx, StatxFlags, openat, statx};
use rustix::io::Errno;

use super::data::WRITE_BODY;
use super::fuse::{self, Bytes, CutOff, Header, IN_HEADER, OUT_HEADER, init, op};
use super::inodes::{Devices, Inode, Inodes};
use super::jail::{self, Setup};
use super::list::Listing;
use super::reply::Reply;
use super::{MAX_TRANSFER, WINDOW_LEN, Window, seccomp};
use crate::monitor::channel::Channel;

/// Longest request but a write: an extended attribute (`XATTR_SIZE_MAX`) with its name.
const MAX_REQUEST: usize = 68 << 10;
/// How long a file stays open that is not read or written: others may want to execute
/// it.
const IDLE: Duration = Duration::from_secs(1);
/// Requests that a guest may send without waiting for answers.
const MAX_BACKGROUND: u16 = 64;
/// What is known of a file for its attributes.
const STAT: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::MNT_ID);

/// What a request comes to: the errors are the guest's.
pub type Outcome = Result<Reply, Errno>;

impl From<CutOff> for Errno {
    fn from(_: CutOff) -> Self {
        Self::INVAL
    }
}

/// The file server's `main`. Standard input is the socket to whoever asks.
pub fn main() -> ExitCode {
    // SAFETY: standard input is the channel, by the contract with the process that
    // started us; nothing else in this process uses it.
    let socket = unsafe { OwnedFd::from_raw_fd(libc::STDIN_FILENO) };
    let channel = Channel::from_fd(socket);
    let prepared = channel.receive::<Setup>(true).and_then(|message| {
        let (setup, fds) = message.ok_or(io::ErrorKind::UnexpectedEof)?;
        let window = fds.first().ok_or(io::ErrorKind::InvalidInput)?;
        let window = Window::map(window)?;
        drop(fds);
        jail::enter(&setup)?;
        let mut server = Server::new(window)?;
        // The standard library's maps ask for randomness once.
        server.listings.insert(0, Listing::default());
        server.listings.clear();
        if setup.seccomp {
            seccomp::apply().map_err(io::Error::other)?;
        }
        Ok(server)
    });
    let (answer, server): (Result<(), String>, _) = match prepared {
        Ok(server) => (Ok(()), Some(server)),
        Err(error) => (Err(error.to_string()), None),
    };
    // Whoever asked may be gone.
    let told = channel.send(&answer, &[]);
    match server {
        Some(mut server) if told.is_ok() => {
            server.run(&channel);
            ExitCode::SUCCESS
        }
        _ => ExitCode::FAILURE,
    }
}

/// The server.
#[derive(Debug)]
pub struct Server {
    pub(super) inodes: Inodes,
    pub(super) devices: Devices,
    pub(super) listings: HashMap<u64, Listing>,
    pub(super) next_listing: u64,
    pub(super) window: Window,
    /// Who the files that are made belong to, as the kernel was told last.
    pub(super) maker: (u32, u32),
}

impl Server {
    /// A server of what is below the root directory.
    pub fn new(window: Window) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self::of(openat(CWD, "/", flags, Mode::empty())?, window)
    }

    /// A server of what is below `root`.
    pub fn of(root: OwnedFd, window: Window) -> io::Result<Self> {
        let stat = stat(&root)?;
        Ok(Self {
            inodes: Inodes::new(root, &stat),
            devices: Devices::default(),
            listings: HashMap::new(),
            next_listing: 1,
            window,
            maker: (0, 0),
        })
    }

    /// Answers until nobody is there to ask.
    fn run(&mut self, channel: &Channel) {
        let mut open = false;
        loop {
            let wait = if open { IDLE.as_millis() } else { u128::MAX };
            match next_length(channel, wait) {
                Ok(Some(len)) => {
                    let answered = self.answer(len);
                    let Ok(bytes) = u32::try_from(answered) else { return };
                    if send_length(channel, bytes).is_err() {
                        return;
                    }
                    open = true;
                }
                Ok(None) => {
                    let since = Instant::now().checked_sub(IDLE);
                    open = self.inodes.close_idle(since);
                }
                Err(_) => return,
            }
        }
    }

    /// Answers the request of `len` bytes in the window, and says how long the answer
    /// there is; 0 for none.
    pub fn answer(&mut self, len: usize) -> usize {
        let mut start = [0; IN_HEADER];
        self.window.read(0, &mut start);
        let Ok(header) = Bytes(&start).header() else { return 0 };
        let copied = match header.opcode {
            op::WRITE => len.min(IN_HEADER + WRITE_BODY),
            _ => len.min(MAX_REQUEST),
        };
        let mut request = vec![0; copied.max(IN_HEADER)];
        self.window.read(0, &mut request);
        // What was looked at stays what it was.
        request[..IN_HEADER].copy_from_slice(&start);
        let body = Bytes(&request[IN_HEADER..]);
        let fits = len <= WINDOW_LEN && header.len == len && len >= IN_HEADER;
        let outcome = match header.opcode {
            op::FORGET | op::BATCH_FORGET => {
                let _ = self.forget(&header, body);
                return 0;
            }
            op::INTERRUPT | op::DESTROY => return 0,
            _ if !fits => Err(Errno::INVAL),
            op::READ => self.read(&header, body).map(Answer::InWindow),
            op::WRITE => self.write(&header, body, len).map(Answer::Body),
            _ => self.dispatch(&header, body).map(Answer::Body),
        };
        self.put(header.unique, outcome)
    }

    fn put(&self, unique: u64, outcome: Result<Answer, Errno>) -> usize {
        let (errno, body) = match outcome {
            Ok(Answer::InWindow(len)) => (0, len),
            Ok(Answer::Body(reply)) if reply.0.len() <= MAX_TRANSFER => {
                self.window.write(OUT_HEADER, &reply.0);
                (0, reply.0.len())
            }
            Ok(Answer::Body(_)) => (Errno::IO.raw_os_error(), 0),
            Err(errno) => (errno.raw_os_error(), 0),
        };
        let len = OUT_HEADER + body;
        let mut header = Reply::default();
        header.u32(u32::try_from(len).unwrap_or(0)).u32((-errno).cast_unsigned()).u64(unique);
        self.window.write(0, &header.0);
        len
    }

    fn dispatch(&mut self, header: &Header, body: Bytes<'_>) -> Outcome {
        match header.opcode {
            op::INIT => self.init(body),
            op::LOOKUP => self.lookup(header, body),
            op::GETATTR => self.getattr(header),
            op::SETATTR => self.setattr(header, body),
            op::READLINK => self.readlink(header),
            op::SYMLINK => self.symlink(header, body),
            op::MKNOD => self.mknod(header, body),
            op::MKDIR => self.mkdir(header, body),
            op::CREATE => self.create(header, body),
            op::UNLINK => self.remove(header, body, AtFlags::empty()),
            op::RMDIR => self.remove(header, body, AtFlags::REMOVEDIR),
            op::RENAME => self.rename(header, body, false),
            op::RENAME2 => self.rename(header, body, true),
            op::LINK => self.link(header, body),
            op::STATFS => self.statfs(header),
            op::FSYNC | op::FSYNCDIR => self.fsync(header, body),
            op::SYNCFS => self.syncfs(),
            op::FALLOCATE => self.fallocate(header, body),
            op::LSEEK => self.lseek(header, body),
            op::COPY_FILE_RANGE => self.copy_range(header, body),
            op::OPENDIR => self.opendir(header),
            op::READDIR => self.readdir(body, false),
            op::READDIRPLUS => self.readdir(body, true),
            op::RELEASEDIR => self.releasedir(body),
            op::GETXATTR => self.getxattr(header, body),
            op::SETXATTR => self.setxattr(header, body),
            op::LISTXATTR => self.listxattr(header, body),
            op::REMOVEXATTR => self.removexattr(header, body),
            // Files need not be opened and closed: their nodes say all. Locks are the
            // guest's own.
            _ => Err(Errno::NOSYS),
        }
    }

    /// The guest has mounted us, perhaps once more.
    fn init(&mut self, mut body: Bytes<'_>) -> Outcome {
        let (major, minor) = (body.u32()?, body.u32()?);
        let (readahead, offered) = (body.u32()?, body.u32()?);
        let needed = init::MAX_PAGES | init::NO_OPEN_SUPPORT;
        if major != fuse::MAJOR || minor < fuse::OLDEST_MINOR || offered & needed != needed {
            return Err(Errno::PROTO);
        }
        self.inodes.clear();
        self.listings.clear();
        let wanted = needed
            | init::ASYNC_READ
            | init::BIG_WRITES
            | init::AUTO_INVAL_DATA
            | init::DO_READDIRPLUS
            | init::READDIRPLUS_AUTO
            | init::PARALLEL_DIROPS
            | init::CACHE_SYMLINKS
            | init::HANDLE_KILLPRIV_V2;
        let most = u32::try_from(MAX_TRANSFER).unwrap_or(u32::MAX);
        let pages = u16::try_from(MAX_TRANSFER / 4096).unwrap_or(u16::MAX);
        let mut reply = Reply::default();
        reply.u32(fuse::MAJOR).u32(fuse::MINOR.min(minor)).u32(readahead.max(most));
        reply.u32(offered & wanted).u16(MAX_BACKGROUND).u16(MAX_BACKGROUND / 4 * 3);
        reply.u32(most).u32(1).u16(pages).u16(0).zeros(32);
        Ok(reply)
    }

    fn forget(&mut self, header: &Header, mut body: Bytes<'_>) -> Result<(), CutOff> {
        if header.opcode == op::FORGET {
            self.inodes.forget(header.node, body.u64()?);
            return Ok(());
        }
        let count = body.u32()?;
        body.u32()?;
        for _ in 0..count {
            let (node, times) = (body.u64()?, body.u64()?);
            self.inodes.forget(node, times);
        }
        Ok(())
    }

    /// The file the request is about.
    pub(super) fn node(&self, id: u64) -> Result<&Inode, Errno> {
        self.inodes.get(id).ok_or(Errno::STALE)
    }
}

enum Answer {
    /// The body is in the window already.
    InWindow(usize),
    Body(Reply),
}

/// What there is to know of a file that is open in whatever way.
pub fn stat(fd: impl std::os::fd::AsFd) -> Result<Statx, Errno> {
    statx(fd, "", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, STAT)
}

/// Opens what `fd` is open on with `O_PATH`: the working directory is this process's
/// descriptors.
pub fn reopen(fd: BorrowedFd<'_>, kind: FileType, flags: OFlags) -> Result<File, Errno> {
    if !matches!(kind, FileType::RegularFile | FileType::Directory) {
        return Err(Errno::INVAL);
    }
    let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    openat(CWD, path_of(fd), flags, Mode::empty()).map(File::from)
}

/// A path to what `fd` is open on.
pub fn path_of(fd: BorrowedFd<'_>) -> String {
    // Tests share their working directory.
    let descriptors = if cfg!(test) { "/proc/self/fd/" } else { "" };
    format!("{descriptors}{}", fd.as_raw_fd())
}

/// The length of the next request; `None` when there was none for so long.
fn next_length(channel: &Channel, wait_ms: u128) -> io::Result<Option<usize>> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let timeout = PollTimeout::try_from(wait_ms).unwrap_or(PollTimeout::NONE);
    let mut events = [PollFd::new(channel.as_fd(), PollFlags::POLLIN)];
    match poll(&mut events, timeout) {
        Ok(0) | Err(nix::errno::Errno::EINTR) => return Ok(None),
        other => other?,
    };
    let mut bytes = [0; 4];
    let mut socket = Socket(channel.as_fd());
    match socket.read(&mut bytes)? {
        4 => Ok(usize::try_from(u32::from_le_bytes(bytes)).ok()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn send_length(channel: &Channel, len: u32) -> io::Result<()> {
    use nix::sys::socket::{MsgFlags, send};
    use std::os::fd::AsFd;
    let fd = channel.as_fd().as_raw_fd();
    send(fd, &len.to_le_bytes(), MsgFlags::MSG_NOSIGNAL)?;
    Ok(())
}

/// Reads messages.
struct Socket<'a>(BorrowedFd<'a>);

impl Read for Socket<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        use nix::sys::socket::{MsgFlags, recv};
        Ok(recv(self.0.as_raw_fd(), out, MsgFlags::empty())?)
    }
}
