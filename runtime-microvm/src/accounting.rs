//! What a monitor's process uses, from `/proc`.

use std::fs;

use bulkhead_runtime::Usage;

use crate::error::{MicroVmError, io_error};

/// Memory, CPU time and threads of the process `pid`; guest memory is part of
/// its memory.
pub fn of_process(pid: i32) -> Result<Usage, MicroVmError> {
    let read = |file: &str| {
        fs::read_to_string(format!("/proc/{pid}/{file}"))
            .map_err(io_error("read the accounting of the monitor"))
    };
    let status = read("status")?;
    let stat = read("stat")?;
    Ok(Usage {
        memory_bytes: kib_field(&status, "VmRSS:").map(|kib| kib * 1024),
        memory_peak_bytes: kib_field(&status, "VmHWM:").map(|kib| kib * 1024),
        kernel_memory_bytes: None,
        cpu_ns: cpu_ns(&stat),
        pids: kib_field(&status, "Threads:"),
        ..Usage::default()
    })
}

/// The number behind `name` in `/proc/<pid>/status`.
fn kib_field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// User and system time of `/proc/<pid>/stat`, fields 14 and 15 (proc(5)).
fn cpu_ns(stat: &str) -> Option<u64> {
    // The name of the program, in parentheses, may contain anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    // SAFETY: sysconf has no memory to be unsafe with.
    let per_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok()?;
    (user + system).checked_mul(1_000_000_000)?.checked_div(per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_ourselves() {
        let usage = of_process(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(usage.memory_bytes.unwrap() > 0);
        assert!(usage.memory_peak_bytes >= usage.memory_bytes);
        assert!(usage.pids.unwrap() >= 1);
    }

    #[test]
    fn a_program_with_a_strange_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 1 0";
        assert_eq!(cpu_ns(stat), Some(2_000_000_000));
        assert_eq!(cpu_ns("nonsense"), None);
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(of_process(i32::MAX).is_err());
    }
}
