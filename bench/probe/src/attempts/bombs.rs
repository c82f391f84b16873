//! Using up what all have to share. Each is bounded by its arguments, and is stopped
//! before that wherever a limit works.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use super::processes::wait_to_be_killed;
use super::{Done, Words, number, word};
use crate::sys::{check, now_ns};

/// Be the first to be killed when memory runs out, not the session.
fn volunteer() {
    // Where it cannot be said it is as likely as anyone.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
}

/// Opens up to `MOST` descriptors.
pub fn descriptors(words: &Words<'_>) -> io::Result<Done> {
    let most: usize = number(words, 0)?;
    volunteer();
    let mut held: Vec<OwnedFd> = Vec::new();
    while held.len() < most {
        // SAFETY: no memory is passed.
        match check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) }) {
            // SAFETY: a new descriptor nobody else has.
            Ok(fd) => held.push(unsafe { OwnedFd::from_raw_fd(fd) }),
            Err(error) => {
                let says = format!("{} descriptors, then {error}", held.len());
                return Ok(Done::holding(held, says));
            }
        }
    }
    let says = format!("{} descriptors", held.len());
    Ok(Done::holding(held, says))
}

/// Memory that all processes of a fork bomb share.
struct Shared {
    /// Processes alive, the first not counted.
    started: AtomicU32,
    /// The kernel has refused another.
    refused: AtomicU32,
}

/// Every process starts further ones, up to `MOST` altogether. They stay until
/// the session ends their group.
pub fn processes(words: &Words<'_>) -> io::Result<Done> {
    let most: u32 = number(words, 0)?;
    volunteer();
    let shared = share()?;
    multiply(shared, most)?;
    let started = shared.started.load(Ordering::SeqCst);
    let error = i32::try_from(shared.refused.load(Ordering::SeqCst)).unwrap_or(0);
    Ok(Done::saying(match error {
        0 => format!("{started} processes"),
        _ => format!("{started} processes, then {}", io::Error::from_raw_os_error(error)),
    }))
}

fn share() -> io::Result<&'static Shared> {
    // SAFETY: a new mapping, page-aligned and all zero, never unmapped.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size_of::<Shared>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above; zeroes are valid atomics.
    Ok(unsafe { &*page.cast::<Shared>() })
}

/// Forks until refused or enough. Only the first process returns.
fn multiply(shared: &Shared, most: u32) -> io::Result<()> {
    let mut first = true;
    loop {
        let enough = shared.started.fetch_add(1, Ordering::SeqCst) >= most;
        if enough || shared.refused.load(Ordering::SeqCst) != 0 {
            shared.started.fetch_sub(1, Ordering::SeqCst);
            break;
        }
        // SAFETY: the child goes on as the parent does, or waits to be killed.
        match check(unsafe { libc::fork() }) {
            Ok(0) => first = false,
            Ok(_) => {}
            Err(error) => {
                shared.started.fetch_sub(1, Ordering::SeqCst);
                let errno = error.raw_os_error().unwrap_or(libc::EAGAIN).unsigned_abs();
                shared.refused.store(errno, Ordering::SeqCst);
                break;
            }
        }
    }
    if first { Ok(()) } else { wait_to_be_killed() }
}

/// Bytes written or mapped at once.
const CHUNK: usize = 1 << 20;

/// How far a bomb may go.
struct Bounds {
    most: usize,
    until_ns: u64,
}

impl Bounds {
    /// `MOST` bytes and `SECONDS`, from the argument at `index` on.
    fn parse(words: &Words<'_>, index: usize) -> io::Result<Self> {
        let seconds: u64 = number(words, index + 1)?;
        let until_ns = now_ns().saturating_add(seconds.saturating_mul(1_000_000_000));
        Ok(Self { most: number(words, index)?, until_ns })
    }

    fn allow(&self, used: usize) -> bool {
        used < self.most && now_ns() < self.until_ns
    }
}

/// Writes up to `MOST` bytes into a file in `DIR` that goes with the process, for
/// up to `SECONDS`.
pub fn disk(words: &Words<'_>) -> io::Result<Done> {
    let (dir, bounds) = (word(words, 0)?, Bounds::parse(words, 1)?);
    volunteer();
    fs::create_dir_all(dir)?;
    let path = Path::new(dir).join("bomb");
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    fs::remove_file(&path)?;
    let chunk = vec![0x5a; CHUNK];
    let mut written = 0;
    while bounds.allow(written) {
        match file.write(&chunk) {
            Ok(count) => written += count,
            Err(error) => {
                return Ok(Done::holding(file, format!("{written} bytes, then {error}")));
            }
        }
    }
    Ok(Done::holding(file, format!("{written} bytes")))
}

/// Touches up to `MOST` bytes of memory, for up to `SECONDS`.
pub fn memory(words: &Words<'_>) -> io::Result<Done> {
    const PAGE: usize = 4096;
    let bounds = Bounds::parse(words, 0)?;
    volunteer();
    let mut held: Vec<Vec<u8>> = Vec::new();
    while bounds.allow(held.len() * CHUNK) {
        let mut chunk = Vec::new();
        if chunk.try_reserve_exact(CHUNK).is_err() {
            let says = format!("{} bytes, then no more", held.len() * CHUNK);
            return Ok(Done::holding(held, says));
        }
        chunk.resize(CHUNK, 0);
        // The allocator may have got the zeroes for free.
        for byte in chunk.iter_mut().step_by(PAGE) {
            *byte = 1;
        }
        held.push(chunk);
    }
    let says = format!("{} bytes", held.len() * CHUNK);
    Ok(Done::holding(held, says))
}
