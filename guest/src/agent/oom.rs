//! Whether the kernel killed for want of memory.
//!
//! The machine's memory is the sandbox's memory limit, so every kill is the
//! sandbox's own. The counter is one line in a long file that is dear to
//! produce, so it is read only when an end looks like it.

use alloc::vec::Vec;
use core::ffi::c_int;

use super::sys::{self, killed_by};

/// `/proc/vmstat` is some 4 KiB.
const VMSTAT_MAX: usize = 16 * 1024;

/// Whether a process that ended so may have been a victim: killed itself, or a
/// shell that passes on that its child was.
pub fn suspected(wait_status: c_int) -> bool {
    let by_shell =
        libc::WIFEXITED(wait_status) && libc::WEXITSTATUS(wait_status) == 128 + libc::SIGKILL;
    by_shell || killed_by(wait_status) == Some(libc::SIGKILL)
}

/// Whether the kernel has killed anything for want of memory since boot; not
/// known, so false, where the workload has no `/proc`.
pub fn happened() -> bool {
    let Ok(file) = sys::open(c"/proc/vmstat", libc::O_RDONLY) else { return false };
    let mut text = Vec::with_capacity(VMSTAT_MAX);
    while let Ok(1..) = sys::read_append(&file, &mut text, VMSTAT_MAX) {}
    kills(&text) > 0
}

fn kills(vmstat: &[u8]) -> u64 {
    vmstat
        .split(|byte| *byte == b'\n')
        .find_map(|line| line.strip_prefix(b"oom_kill "))
        .and_then(|count| core::str::from_utf8(count).ok()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_counter_and_no_other() {
        assert_eq!(kills(b"pgfault 9\noom_kill 3\noom_kill_other 5\n"), 3);
        assert_eq!(kills(b"oom_kill_other 5\noom_kill 0\n"), 0);
        assert_eq!(kills(b""), 0);
    }

    #[test]
    fn suspects_sigkill_and_a_shell_that_reports_it() {
        assert!(suspected(libc::SIGKILL));
        assert!(suspected(137 << 8));
        assert!(!suspected(libc::SIGTERM));
        assert!(!suspected(0));
    }
}
