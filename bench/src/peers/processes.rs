//! The processes a peer has started, whatever it did to hide them.

use std::fs;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bulkhead_runtime::SandboxId;

/// Variable in the environment of every call of a peer. What it starts inherits
/// it, also across `fork` and `setsid`, so a killed peer's helpers can be found.
const MARK: &str = "BULKHEAD_PEER_SANDBOX";

/// Rounds of looking for processes while killing: a process may fork between
/// being seen and being killed.
const ROUNDS: u32 = 50;

/// Pause between two rounds.
const PAUSE: Duration = Duration::from_millis(10);

/// The variable that marks what belongs to `id`.
pub fn mark(id: &SandboxId) -> String {
    format!("{MARK}={id}")
}

/// Kills what peers have started for the sandbox `id` beside its container, and
/// collects those of it that are children of ours. Returns how many processes are still there.
pub fn kill_marked(id: &SandboxId) -> usize {
    let mark = mark(id);
    let mut seen: Vec<i32> = Vec::new();
    for _ in 0..ROUNDS {
        let found = marked(&mark);
        for &pid in &found {
            // SAFETY: sends a signal to a process that carries our mark.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            if !seen.contains(&pid) {
                seen.push(pid);
            }
        }
        seen.retain(|&pid| !is_gone(pid));
        if seen.is_empty() {
            return 0;
        }
        std::thread::sleep(PAUSE);
    }
    seen.len()
}

/// Collects `pid` if it is a child of ours that has ended; whether there is no
/// such process any more.
fn is_gone(pid: i32) -> bool {
    // SAFETY: discards the status of a child of ours, if it is one.
    let collected = unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
    let not_ours = || io::Error::last_os_error().raw_os_error() == Some(libc::ECHILD);
    // Somebody else's child counts as gone once it has no environment any more.
    collected == pid || (collected < 0 && not_ours() && environment(pid).is_empty())
}

/// The processes that have `mark` in their environment, except this one.
fn marked(mark: &str) -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let own = std::process::id();
    pids.filter(|&pid| u32::try_from(pid) != Ok(own))
        .filter(|&pid| {
            environment(pid).split(|&byte| byte == 0).any(|entry| entry == mark.as_bytes())
        })
        .collect()
}

/// Empty for a process that is gone or a zombie.
fn environment(pid: i32) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/environ")).unwrap_or_default()
}

/// How many ask for it; the setting is the whole process's.
static SUBREAPERS: Mutex<u32> = Mutex::new(0);

/// While it lives, orphans below this process become its children, so that it
/// learns how a container ends whose creator has exited.
#[derive(Debug)]
pub struct Subreaper;

impl Subreaper {
    /// Becomes it.
    pub fn become_one() -> io::Result<Self> {
        let mut count = SUBREAPERS.lock().unwrap_or_else(PoisonError::into_inner);
        if *count == 0 {
            set(1)?;
        }
        *count += 1;
        Ok(Self)
    }
}

impl Drop for Subreaper {
    fn drop(&mut self) {
        let mut count = SUBREAPERS.lock().unwrap_or_else(PoisonError::into_inner);
        *count -= 1;
        if *count == 0 {
            // It cannot fail with a valid argument.
            let _ = set(0);
        }
    }
}

fn set(on: libc::c_ulong) -> io::Result<()> {
    // SAFETY: takes a plain number.
    let result = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, on, 0, 0, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
