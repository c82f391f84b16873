//! What the first process of a container made ahead is told when somebody takes it:
//! its last steps and its command, in a file in memory that it maps.
//!
//! The process cannot allocate, so everything in here is read where it lies: words of
//! 64 bits, and texts and lists in as many whole words as they need, behind their
//! length. [`FORMAT`] is part of the pool's key: who reads is who wrote.

use std::borrow::Cow;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use bulkhead_runtime::Stdio;
use libc::sock_filter;

use crate::error::ContainerError;
use crate::plan::Plan;
use crate::step::{CapabilitySets, Step};
use crate::sys::{self, Errno, MountAttr};

/// Version of this format; with any other, what was prepared cannot be completed.
pub(crate) const FORMAT: &str = "3";

/// Plain data that any bits are valid for, aligned to no more than a word.
trait Plain: Copy {}

impl Plain for u8 {}
impl Plain for u32 {}
impl Plain for u64 {}
impl Plain for sock_filter {}

/// A brief as it is read.
#[derive(Debug)]
pub(crate) struct Brief<'a> {
    /// What is left to set up.
    pub setup: Steps<'a>,
    /// From the start order to `execve`.
    pub launch: Steps<'a>,
    /// What to execute.
    pub candidates: Strings<'a>,
    pub argv: Strings<'a>,
    pub envp: Strings<'a>,
    /// Be PID 1 beside the workload, which has a terminal or not.
    pub init: Option<bool>,
}

/// The words of a brief for the child of `plan`; `None` if it has a step that is none
/// of those that are left for it.
pub(crate) fn write(plan: &Plan, init: bool) -> Option<Vec<u64>> {
    let mut writer = Writer(Vec::with_capacity(1024));
    writer.number(u64::from(init) | u64::from(plan.terminal) << 1);
    for steps in [&plan.setup, &plan.launch] {
        writer.section(steps.len(), |writer| steps.iter().try_for_each(|s| writer.step(s)))?;
    }
    let command = &plan.command;
    for strings in [&command.candidates[..], command.argv.strings(), command.envp.strings()] {
        writer.section(strings.len(), |writer| {
            strings.iter().for_each(|text| writer.text(text));
            Some(())
        })?;
    }
    Some(writer.0)
}

/// Sends `words` and the streams of the workload over the conversation with the child.
pub(crate) fn send(
    conversation: &OwnedFd,
    words: &[u64],
    stdio: &Stdio,
) -> Result<(), ContainerError> {
    let failed = |source| ContainerError::io("tell the container what to run")(source);
    // SAFETY: a terminated string.
    let fd = unsafe { libc::memfd_create(c"brief".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(failed(io::Error::last_os_error()));
    }
    // SAFETY: the kernel has just made it for us.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(bytes_of(words)).map_err(failed)?;
    let fds = [
        file.as_raw_fd(),
        stdio.stdin.as_raw_fd(),
        stdio.stdout.as_raw_fd(),
        stdio.stderr.as_raw_fd(),
    ];
    let len = (words.len() as u64).to_ne_bytes();
    sys::send_with(conversation.as_raw_fd(), &len, &fds).map_err(|errno| failed(errno.into()))
}

fn bytes_of<T: Plain>(list: &[T]) -> &[u8] {
    // SAFETY: plain data without padding is valid as that many bytes.
    unsafe { std::slice::from_raw_parts(list.as_ptr().cast(), size_of_val(list)) }
}

struct Writer(Vec<u64>);

impl Writer {
    fn number(&mut self, number: impl Into<u64>) {
        self.0.push(number.into());
    }

    /// What `content` writes, behind its length in words and how many items it is.
    fn section(
        &mut self,
        items: usize,
        content: impl FnOnce(&mut Self) -> Option<()>,
    ) -> Option<()> {
        let begin = self.0.len();
        self.0.extend([0, items as u64]);
        content(self)?;
        self.0[begin] = (self.0.len() - begin - 2) as u64;
        Some(())
    }

    fn list<T: Plain>(&mut self, list: &[T]) {
        self.0.push(list.len() as u64);
        for chunk in bytes_of(list).chunks(size_of::<u64>()) {
            let mut word = [0; size_of::<u64>()];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0.push(u64::from_ne_bytes(word));
        }
    }

    fn text(&mut self, text: &CStr) {
        self.list(text.to_bytes_with_nul());
    }

    fn step(&mut self, step: &Step<'_>) -> Option<()> {
        match step {
            Step::StampRootfs => self.number(0_u64),
            Step::Hostname(name) => {
                self.number(1_u64);
                self.list(name);
            }
            Step::Domainname(name) => {
                self.number(2_u64);
                self.list(name);
            }
            Step::EnsureDirectory(path) => {
                self.number(3_u64);
                self.text(path);
            }
            Step::SetAttributes { path, attributes } => {
                let MountAttr { set, clear, propagation, userns_fd } = *attributes;
                self.0.extend([4, set, clear, propagation, userns_fd]);
                self.text(path);
            }
            Step::DieWithParent => self.number(5_u64),
            Step::Session { terminal } => self.0.extend([6, u64::from(*terminal)]),
            Step::Limit { resource, soft, hard, .. } => {
                self.0.extend([7, u64::from(*resource), *soft, *hard]);
            }
            Step::Chdir(path) => {
                self.number(8_u64);
                self.text(path);
            }
            Step::Bounding(keep) => self.0.extend([9, *keep]),
            Step::Become { uid, gid, groups } => {
                self.0.extend([10, u64::from(*uid), u64::from(*gid)]);
                self.list(groups);
            }
            Step::Capabilities(sets) => {
                let CapabilitySets { bounding, effective, permitted, inheritable, ambient } =
                    *sets;
                self.0.extend([11, bounding, effective, permitted, inheritable, ambient]);
            }
            Step::NoNewPrivileges => self.number(12_u64),
            Step::Seccomp { flags, program } => {
                self.0.extend([13, u64::from(*flags)]);
                self.list(program);
            }
            Step::Umask(mask) => self.0.extend([14, u64::from(*mask)]),
            Step::NotDumpable => self.number(15_u64),
            Step::PlaceFile { directory, name, content } => {
                self.number(16_u64);
                self.text(directory);
                self.text(name);
                self.list(content);
            }
            Step::Terminal { uid, is_console } => {
                self.0.extend([17, u64::from(*uid), u64::from(*is_console)]);
            }
            _ => return None,
        }
        Some(())
    }
}

impl<'a> Brief<'a> {
    /// Reads a brief; `None` when it is none.
    pub(crate) fn read(words: &'a [u64]) -> Option<Self> {
        let mut reader = Reader(words);
        let flags = reader.number()?;
        Some(Self {
            init: (flags & 1 != 0).then_some(flags & 2 != 0),
            setup: Steps(reader.section()?),
            launch: Steps(reader.section()?),
            candidates: Strings(reader.section()?),
            argv: Strings(reader.section()?),
            envp: Strings(reader.section()?),
        })
    }
}

/// Waits for a brief and maps it; only raw system calls. The streams come with it.
pub(crate) fn receive(conversation: RawFd) -> Result<(&'static [u64], [RawFd; 3]), Errno> {
    let mut len = [0; size_of::<u64>()];
    let (received, [file, stdin, stdout, stderr]) = sys::receive_with(conversation, &mut len)?;
    if received != len.len() || [file, stdin, stdout, stderr].contains(&-1) {
        return Err(Errno(libc::EPROTO));
    }
    let words = usize::try_from(u64::from_ne_bytes(len)).map_err(|_| Errno(libc::E2BIG))?;
    let bytes = words.checked_mul(size_of::<u64>()).ok_or(Errno(libc::E2BIG))?;
    let at = sys::map(Some(file), bytes)?;
    sys::close(file);
    // SAFETY: a mapping of our own that long, page-aligned, never written to or
    // unmapped; its sender wrote all of it before.
    let words = unsafe { std::slice::from_raw_parts(at.cast::<u64>(), words) };
    Ok((words, [stdin, stdout, stderr]))
}

#[derive(Debug, Clone, Copy)]
struct Reader<'a>(&'a [u64]);

/// Items that lie one behind the other.
#[derive(Debug, Clone, Copy)]
struct Section<'a> {
    items: usize,
    reader: Reader<'a>,
}

impl<'a> Reader<'a> {
    fn number(&mut self) -> Option<u64> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn words(&mut self, count: usize) -> Option<&'a [u64]> {
        let (these, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(these)
    }

    fn section(&mut self) -> Option<Section<'a>> {
        let len = usize::try_from(self.number()?).ok()?;
        let items = usize::try_from(self.number()?).ok()?;
        Some(Section { items, reader: Reader(self.words(len)?) })
    }

    fn list<T: Plain>(&mut self) -> Option<&'a [T]> {
        const { assert!(align_of::<T>() <= align_of::<u64>()) };
        let len = usize::try_from(self.number()?).ok()?;
        let bytes = len.checked_mul(size_of::<T>())?;
        let words = self.words(bytes.div_ceil(size_of::<u64>()))?;
        // SAFETY: these words are that many bytes or more, aligned to more than is
        // needed, and any bits are valid for plain data.
        Some(unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), len) })
    }

    fn text(&mut self) -> Option<&'a CStr> {
        CStr::from_bytes_with_nul(self.list()?).ok()
    }

    fn step(&mut self) -> Option<Step<'a>> {
        Some(match self.number()? {
            0 => Step::StampRootfs,
            1 => Step::Hostname(Cow::Borrowed(self.list()?)),
            2 => Step::Domainname(Cow::Borrowed(self.list()?)),
            3 => Step::EnsureDirectory(Cow::Borrowed(self.text()?)),
            4 => {
                let attributes = MountAttr {
                    set: self.number()?,
                    clear: self.number()?,
                    propagation: self.number()?,
                    userns_fd: self.number()?,
                };
                Step::SetAttributes { path: Cow::Borrowed(self.text()?), attributes }
            }
            5 => Step::DieWithParent,
            6 => Step::Session { terminal: self.number()? != 0 },
            7 => Step::Limit {
                resource: self.small()?,
                name: "",
                soft: self.number()?,
                hard: self.number()?,
            },
            8 => Step::Chdir(Cow::Borrowed(self.text()?)),
            9 => Step::Bounding(self.number()?),
            10 => Step::Become {
                uid: self.small()?,
                gid: self.small()?,
                groups: Cow::Borrowed(self.list()?),
            },
            11 => Step::Capabilities(CapabilitySets {
                bounding: self.number()?,
                effective: self.number()?,
                permitted: self.number()?,
                inheritable: self.number()?,
                ambient: self.number()?,
            }),
            12 => Step::NoNewPrivileges,
            13 => Step::Seccomp { flags: self.small()?, program: Cow::Borrowed(self.list()?) },
            14 => Step::Umask(self.small()?),
            15 => Step::NotDumpable,
            16 => Step::PlaceFile {
                directory: Cow::Borrowed(self.text()?),
                name: Cow::Borrowed(self.text()?),
                content: Cow::Borrowed(self.list()?),
            },
            17 => Step::Terminal { uid: self.small()?, is_console: self.number()? != 0 },
            _ => return None,
        })
    }
}

/// Steps as they are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steps<'a>(Section<'a>);

/// Texts as they are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strings<'a>(Section<'a>);

impl Strings<'_> {
    /// How many are left.
    pub(crate) fn count_left(&self) -> usize {
        self.0.items
    }
}

impl<'a> Section<'a> {
    fn next<T>(
        &mut self,
        read: impl FnOnce(&mut Reader<'a>) -> Option<T>,
    ) -> Option<Result<T, Errno>> {
        self.items = self.items.checked_sub(1)?;
        Some(read(&mut self.reader).ok_or(Errno(libc::EPROTO)))
    }
}

impl<'a> Iterator for Steps<'a> {
    type Item = Result<Step<'a>, Errno>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next(Reader::step)
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = Result<&'a CStr, Errno>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next(Reader::text)
    }
}
