//! A process's terminal: made among the container's own, and carried between our end of
//! it and the streams the caller gave.
//!
//! The streams may be shared with anyone (a shell's terminal, a script's pipe), so they
//! are never made non-blocking: nothing is read or written unless `poll` says that it
//! will not wait.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use bulkhead_runtime::{Error, ExitStatus, Isolation, Stdio, TerminalSize};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, ResolveFlags, fstatfs, openat2};
use rustix::io::Errno;

use crate::error::{ContainerError, wall};
use crate::sys;
use crate::workload::Workload;

/// Where the container's terminals come from, below its root.
const MULTIPLEXER: &str = "dev/pts/ptmx";

/// `DEVPTS_SUPER_MAGIC` (linux/magic.h).
const DEVPTS_MAGIC: u64 = 0x1cd1;

/// Most bytes on their way in either direction. A stream that polls writable takes
/// as much at once (`PIPE_BUF`, linux/limits.h).
const CHUNK: usize = 4096;

/// Rounds of carrying at a time: enough to keep a stream flowing, few enough to get
/// back to signals.
const ROUNDS: usize = 64;

/// Our end of a terminal, and the streams at ours.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// Absent once nobody can be at the other end any more.
    master: Option<File>,
    /// Where what is typed comes from, until it ends.
    input: Option<File>,
    /// Where what is shown goes, while anybody reads it.
    output: Option<File>,
    typed: Vec<u8>,
    shown: Vec<u8>,
    news: OwnedFd,
}

impl Terminal {
    /// Makes a terminal in the container whose process `pid` is, and the end that is for
    /// its process. The root is opened before anything of the container runs, or it does
    /// not matter any more what does: nothing that is looked up leads out of it.
    pub(crate) fn open(
        pid: i32,
        size: TerminalSize,
        stdio: Stdio,
    ) -> Result<(Self, OwnedFd), ContainerError> {
        let failed = |source| ContainerError::io("make a terminal in the container")(source);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty())
            .map_err(|errno| failed(errno.into()))?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let beneath = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let master = openat2(&root, MULTIPLEXER, flags, Mode::empty(), beneath)
            .map_err(|errno| failed(errno.into()))?;
        let kind = fstatfs(&master).map_err(|errno| failed(errno.into()))?.f_type;
        if u64::try_from(kind) != Ok(DEVPTS_MAGIC) {
            return Err(failed(ErrorKind::Unsupported.into()));
        }
        let slave = unlock_and_open(&master).map_err(failed)?;
        set_size(master.as_fd(), size).map_err(failed)?;
        let news =
            epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
        let (input, output) = (File::from(stdio.stdin), File::from(stdio.stdout));
        let mut terminal = Self {
            master: Some(master.into()),
            input: (!is_null(&input)).then_some(input),
            output: Some(output),
            typed: Vec::new(),
            shown: Vec::new(),
            news,
        };
        terminal.register(false).map_err(failed)?;
        Ok((terminal, slave))
    }

    /// Has [`Terminal::event_fd`] tell of the end of a process as well.
    pub(crate) fn watch(&self, process: BorrowedFd<'_>) -> Result<(), ContainerError> {
        epoll::add(&self.news, process, EventData::new_u64(0), EventFlags::IN)
            .map_err(|errno| ContainerError::io("watch the process")(errno.into()))
    }

    /// Polls readable when [`Terminal::carry`] has something to do.
    pub(crate) fn event_fd(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }

    /// Sets how much it shows.
    fn resize(&self, size: TerminalSize) -> io::Result<()> {
        self.master.as_ref().map_or(Ok(()), |master| set_size(master.as_fd(), size))
    }

    /// Carries what can be carried without waiting.
    fn carry(&mut self) -> Result<(), ContainerError> {
        let mut busy = true;
        for _ in 0..ROUNDS {
            busy = self.round();
            if !busy {
                break;
            }
        }
        self.register(busy).map_err(ContainerError::io("wait for the terminal"))
    }

    /// Carries the rest of what an ended process has shown, as long as it is read.
    fn drain(&mut self) {
        forget(&self.news, self.input.take());
        while self.master.is_some() || !self.shown.is_empty() {
            let moved = self.show();
            // What was written is there at once: a read that finds nothing finds nothing
            // later, either, of this process.
            if !moved && self.shown.is_empty() {
                forget(&self.news, self.master.take());
            } else if !moved && let Some(output) = &self.output {
                wait_for(output.as_fd(), PollFlags::OUT);
            }
        }
    }

    /// One pass in both directions. True when anything moved.
    fn round(&mut self) -> bool {
        let shown = self.show();
        self.type_in() | shown
    }

    fn show(&mut self) -> bool {
        let mut moved = false;
        if self.shown.is_empty()
            && let Some(master) = &mut self.master
        {
            match take(master, &mut self.shown) {
                Some(0) => {}
                Some(_) => moved = true,
                // EIO: nobody has the other end.
                None => forget(&self.news, self.master.take()),
            }
        }
        if self.output.is_none() {
            // As a terminal that nobody looks at.
            self.shown.clear();
        }
        if let Some(output) = self.output.as_mut().filter(|_| !self.shown.is_empty())
            && is_ready(output.as_fd(), PollFlags::OUT)
        {
            match give(output, &mut self.shown) {
                Some(count) => moved |= count > 0,
                None => forget(&self.news, self.output.take()),
            }
        }
        moved
    }

    fn type_in(&mut self) -> bool {
        let mut moved = false;
        if self.typed.is_empty()
            && let Some(input) = &mut self.input
            && is_ready(input.as_fd(), PollFlags::IN)
        {
            match take(input, &mut self.typed) {
                Some(count) => moved = count > 0,
                None => forget(&self.news, self.input.take()),
            }
        }
        if let Some(master) = self.master.as_mut().filter(|_| !self.typed.is_empty()) {
            match give(master, &mut self.typed) {
                Some(count) => moved |= count > 0,
                None => self.typed.clear(),
            }
        }
        moved
    }

    /// Brings what is waited for up to date; `busy` when there is more to do at once.
    fn register(&mut self, busy: bool) -> io::Result<()> {
        let when = |flag, wanted: bool| if wanted { flag } else { EventFlags::empty() };
        let at_master = when(EventFlags::IN, self.shown.is_empty())
            | when(EventFlags::OUT, busy || !self.typed.is_empty());
        let typing = self.typed.is_empty() && self.master.is_some();
        set(&self.news, self.master.as_ref(), at_master)?;
        set(&self.news, self.input.as_ref(), when(EventFlags::IN, typing))?;
        set(&self.news, self.output.as_ref(), when(EventFlags::OUT, !self.shown.is_empty()))
    }
}

/// Waits for `workload` to end, as [`Workload::wait`] does, and carries its terminal
/// meanwhile.
pub(crate) fn wait(
    terminal: Option<&mut Terminal>,
    workload: &mut Workload,
    timeout: Option<Duration>,
) -> Result<Option<ExitStatus>, ContainerError> {
    let Some(terminal) = terminal else { return workload.wait(timeout) };
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        terminal.carry()?;
        if let Some(status) = workload.wait(Some(Duration::ZERO))? {
            terminal.drain();
            return Ok(Some(status));
        }
        if !wait_until(terminal.event_fd(), deadline)? {
            return Ok(None);
        }
    }
}

/// Sets how much `terminal` shows, if there is one.
pub(crate) fn resize(terminal: Option<&Terminal>, size: TerminalSize) -> Result<(), Error> {
    let Some(terminal) = terminal else {
        let what = "resizing a terminal that is not there, or in the hands of another process";
        return Err(Error::Unsupported { isolation: Isolation::Container, what });
    };
    let failed = ContainerError::io("set the size of a terminal");
    terminal.resize(size).map_err(failed).map_err(wall("resizing the terminal"))
}

/// Waits for `events` of `file`; for nothing at all, if there are none, since an end is
/// always told of.
fn set(news: &OwnedFd, file: Option<&File>, events: EventFlags) -> io::Result<()> {
    let Some(file) = file else { return Ok(()) };
    let data = EventData::new_u64(0);
    let done = if events.is_empty() {
        epoll::delete(news, file)
    } else {
        match epoll::modify(news, file, data, events) {
            Err(Errno::NOENT) => epoll::add(news, file, data, events),
            other => other,
        }
    };
    match done {
        // Not there, or not a kind of file that makes anyone wait.
        Ok(()) | Err(Errno::NOENT | Errno::PERM) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Closes a stream. It may be open in other hands as well, and would be told of.
fn forget(news: &OwnedFd, file: Option<File>) {
    if let Some(file) = file {
        let _ = epoll::delete(news, file);
    }
}

/// Reads what is there; `None` at an end.
fn take(from: &mut File, into: &mut Vec<u8>) -> Option<usize> {
    let mut chunk = [0; CHUNK];
    match from.read(&mut chunk) {
        Ok(0) => None,
        Ok(count) => {
            into.extend_from_slice(&chunk[..count]);
            Some(count)
        }
        Err(error) if is_passing(&error) => Some(0),
        Err(_) => None,
    }
}

/// Writes some of `bytes`; `None` when nobody takes any.
fn give(to: &mut File, bytes: &mut Vec<u8>) -> Option<usize> {
    match to.write(bytes) {
        Ok(count) => {
            bytes.drain(..count);
            Some(count)
        }
        Err(error) if is_passing(&error) => Some(0),
        Err(_) => None,
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn is_ready(fd: BorrowedFd<'_>, events: PollFlags) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::from_borrowed_fd(fd, events)];
    poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
}

fn wait_for(fd: BorrowedFd<'_>, events: PollFlags) {
    // Interrupted is as good: the caller looks again.
    let _ = poll(&mut [PollFd::from_borrowed_fd(fd, events)], None);
}

/// Waits until one of what `news` watches is there or `deadline` has passed. True when
/// something is.
fn wait_until(news: BorrowedFd<'_>, deadline: Option<Instant>) -> Result<bool, ContainerError> {
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        // Longer than a clock can count is forever.
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = [PollFd::from_borrowed_fd(news, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) if left.is_some_and(|left| left > Duration::ZERO) => {}
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(ContainerError::io("wait for a process")(errno.into())),
        }
    }
}

fn is_null(file: &File) -> bool {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    file.metadata()
        .is_ok_and(|it| it.file_type().is_char_device() && it.rdev() == libc::makedev(1, 3))
}

/// The other end of the terminal that `master` is. Opened by way of this one, since a
/// path would be looked up in the host's tree.
fn unlock_and_open(master: &OwnedFd) -> io::Result<OwnedFd> {
    let unlocked: libc::c_int = 0;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCSPTLCK reads an int.
    unsafe {
        let address = (&raw const unlocked).addr();
        sys::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, address)?;
    }
    // SAFETY: TIOCGPTPEER takes a number and returns a descriptor nobody else has.
    unsafe {
        let argument = usize::try_from(flags).unwrap_or(0);
        let fd = sys::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, argument)?;
        Ok(OwnedFd::from_raw_fd(i32::try_from(fd).unwrap_or(-1)))
    }
}

fn set_size(terminal: BorrowedFd<'_>, size: TerminalSize) -> io::Result<()> {
    let (ws_row, ws_col) = (size.rows, size.columns);
    let size = libc::winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads a winsize.
    unsafe { sys::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, (&raw const size).addr())? };
    Ok(())
}
