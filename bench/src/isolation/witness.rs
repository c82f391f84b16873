//! A witness: counts the system calls of a sandbox's own processes and what the
//! host's kernel answered.
//!
//! It is a process of its own that traces them, so that the harness need not
//! wait for two kinds of event at once, and so that the exit of a child that is
//! also traced reaches both. If it dies, the traced go on untraced. Its counts
//! lie in memory shared with the harness.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use syscalls::Sysno;

/// Numbers from here on are counted together; x86-64 has some 470.
const NUMBERS: usize = 512;

/// `AUDIT_ARCH_X86_64` (linux/audit.h).
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

/// Requests of ptrace(2).
const OPTIONS: libc::c_int = libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC;

/// What is known of one system call.
struct Entry {
    made: AtomicU64,
    granted: AtomicU64,
    /// Of the last call that was not granted.
    errno: AtomicI32,
}

/// What the witness and the harness share.
struct Tally([Entry; NUMBERS]);

/// A running witness; it ends when dropped.
pub struct Witness {
    tally: &'static Tally,
    pid: i32,
}

/// The counts at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<usize, (u64, u64, i32)>);

/// What became of some system calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answers {
    /// How often they were made.
    pub made: u64,
    /// How often they succeeded.
    pub granted: u64,
    /// What was answered to the last one that was refused.
    pub errno: Option<i32>,
}

impl Witness {
    /// Begins to trace `pids` and whatever they start, all their threads.
    pub fn attach(pids: &[i32]) -> io::Result<Self> {
        let tally = share()?;
        let (mut ready, mut tell) = io::pipe()?;
        // SAFETY: no arguments.
        let parent = unsafe { libc::getpid() };
        // SAFETY: the child uses nothing of its parent's but its memory, and the C
        // library keeps the allocator usable after a fork.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            drop(ready);
            die_with(parent);
            let result = attach_all(pids);
            let errno = result.err().and_then(|error| error.raw_os_error()).unwrap_or(0);
            let told = tell.write_all(&errno.to_ne_bytes());
            close_all();
            if errno == 0 && told.is_ok() {
                watch(tally);
            }
            // SAFETY: ends the child without running any handler of the parent's.
            unsafe { libc::_exit(0) }
        }
        if pid < 0 {
            let error = io::Error::last_os_error();
            unshare(tally);
            return Err(error);
        }
        let witness = Self { tally, pid };
        drop(tell);
        let mut errno = [0; size_of::<i32>()];
        ready.read_exact(&mut errno)?;
        match i32::from_ne_bytes(errno) {
            0 => Ok(witness),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    /// The counts now.
    pub fn counts(&self) -> Counts {
        let entries = self.tally.0.iter().enumerate();
        let seen = entries.filter_map(|(number, entry)| {
            let made = entry.made.load(Ordering::Relaxed);
            let granted = entry.granted.load(Ordering::Relaxed);
            (made > 0).then(|| (number, (made, granted, entry.errno.load(Ordering::Relaxed))))
        });
        Counts(seen.collect())
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        // SAFETY: our own child, not waited for yet.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, std::ptr::null_mut(), 0);
        }
        unshare(self.tally);
    }
}

impl Counts {
    /// What was counted after `earlier`, by name.
    pub fn since(&self, earlier: &Self) -> BTreeMap<String, u64> {
        let made = self.0.iter().map(|(number, (made, ..))| {
            let before = earlier.0.get(number).map_or(0, |(before, ..)| *before);
            (name(*number), made - before)
        });
        made.filter(|(_, count)| *count > 0).collect()
    }

    /// What was answered, after `earlier`, to calls with one of these names.
    pub fn answers(&self, earlier: &Self, names: &[&str]) -> Answers {
        let mut answers = Answers { made: 0, granted: 0, errno: None };
        for (number, (made, granted, errno)) in &self.0 {
            if !names.contains(&name(*number).as_str()) {
                continue;
            }
            let (made_before, granted_before, _) =
                earlier.0.get(number).copied().unwrap_or_default();
            let (made, granted) = (made - made_before, granted - granted_before);
            answers.made += made;
            answers.granted += granted;
            if made > granted {
                answers.errno = Some(*errno);
            }
        }
        answers
    }
}

fn name(number: usize) -> String {
    match Sysno::new(number) {
        Some(call) => call.name().to_owned(),
        None if number == NUMBERS - 1 => "other".to_owned(),
        None => format!("number {number}"),
    }
}

fn share() -> io::Result<&'static Tally> {
    // SAFETY: a new mapping, page-aligned and all zero: valid atomics.
    unsafe {
        let memory = libc::mmap(
            std::ptr::null_mut(),
            size_of::<Tally>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(&*memory.cast::<Tally>())
    }
}

fn unshare(tally: &'static Tally) {
    // SAFETY: the mapping is as `share` made it, and its last user is gone.
    unsafe { libc::munmap((&raw const *tally).cast_mut().cast(), size_of::<Tally>()) };
}

/// Also of a parent that died before it could be bound to.
fn die_with(parent: i32) {
    // SAFETY: no memory is passed.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() != parent {
            libc::_exit(0);
        }
    }
}

/// The ends of pipes the harness waits on would otherwise stay open here.
fn close_all() {
    let first = libc::STDERR_FILENO + 1;
    // SAFETY: nothing in this process uses a descriptor from here on.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
}

fn attach_all(pids: &[i32]) -> io::Result<()> {
    for pid in pids {
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let name = task?.file_name();
            if let Some(thread) = name.to_str().and_then(|name| name.parse().ok()) {
                // SAFETY: a request without memory.
                if unsafe { request(libc::PTRACE_SEIZE, thread, OPTIONS) } == -1 {
                    return Err(io::Error::last_os_error());
                }
                // SAFETY: likewise. It makes the thread stop once, to be resumed with its
                // system calls watched.
                unsafe { request(libc::PTRACE_INTERRUPT, thread, 0) };
            }
        }
    }
    Ok(())
}

/// A request without memory.
unsafe fn request(request: libc::c_uint, thread: i32, data: i32) -> libc::c_long {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: the caller's promise.
    unsafe { libc::ptrace(request, thread, nothing, libc::c_long::from(data)) }
}

/// Counts until killed.
fn watch(tally: &Tally) {
    let mut inside: HashMap<i32, usize> = HashMap::new();
    loop {
        let mut status = 0;
        // SAFETY: `status` is writable.
        let thread = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
        if thread == -1 {
            match io::Error::last_os_error().kind() {
                io::ErrorKind::Interrupted => continue,
                // Nobody is left to trace.
                _ => return,
            }
        }
        if !libc::WIFSTOPPED(status) {
            inside.remove(&thread);
            continue;
        }
        let (resume, signal) = on_stop(thread, status, tally, &mut inside);
        // SAFETY: a request without memory; a thread that was killed meanwhile is no
        // longer there to be resumed, and the next wait says so.
        unsafe { request(resume, thread, signal) };
    }
}

/// What a stopped thread is to be resumed with: the request and a signal.
fn on_stop(
    thread: i32,
    status: i32,
    tally: &Tally,
    inside: &mut HashMap<i32, usize>,
) -> (libc::c_uint, i32) {
    let signal = libc::WSTOPSIG(status);
    if signal == libc::SIGTRAP | 0x80 {
        note_call(thread, tally, inside);
        return (libc::PTRACE_SYSCALL, 0);
    }
    let event = status >> 16;
    match (event, signal) {
        (0, signal) => (libc::PTRACE_SYSCALL, signal),
        // A stop of the whole process, which is to stay stopped.
        (libc::PTRACE_EVENT_STOP, signal) if signal != libc::SIGTRAP => {
            (libc::PTRACE_LISTEN, 0)
        }
        _ => (libc::PTRACE_SYSCALL, 0),
    }
}

fn note_call(thread: i32, tally: &Tally, inside: &mut HashMap<i32, usize>) {
    // SAFETY: all zero is valid for these integers, and the kernel is told the size.
    let info = unsafe {
        let mut info: libc::ptrace_syscall_info = std::mem::zeroed();
        let size = size_of::<libc::ptrace_syscall_info>();
        let read = libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, thread, size, &raw mut info);
        if read <= 0 {
            return;
        }
        info
    };
    match info.op {
        libc::PTRACE_SYSCALL_INFO_ENTRY => {
            // SAFETY: the kernel says that this is the variant.
            let number = usize::try_from(unsafe { info.u.entry.nr }).unwrap_or(usize::MAX);
            let ours = info.arch == AUDIT_ARCH_X86_64;
            let number = if ours { number.min(NUMBERS - 1) } else { NUMBERS - 1 };
            tally.0[number].made.fetch_add(1, Ordering::Relaxed);
            inside.insert(thread, number);
        }
        libc::PTRACE_SYSCALL_INFO_EXIT => {
            let Some(number) = inside.remove(&thread) else { return };
            // SAFETY: the kernel says that this is the variant.
            let exit = unsafe { info.u.exit };
            if exit.is_error == 0 {
                tally.0[number].granted.fetch_add(1, Ordering::Relaxed);
            } else {
                let errno = i32::try_from(-exit.sval).unwrap_or(0);
                tally.0[number].errno.store(errno, Ordering::Relaxed);
            }
        }
        _ => {}
    }
}
