//! The processes of a sandbox, as the host's kernel knows them.

use std::time::Duration;

use bulkhead_runtime::HostProcess;
use procfs::process::Process;
use serde::Serialize;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Its id on the host.
    pub pid: i32,
    /// Its id inside.
    pub pid_inside: i32,
    /// Its parent's id on the host.
    pub parent: i32,
    /// The user it runs as, on the host.
    pub user: u32,
    /// The processor time it has used.
    pub cpu: Duration,
    /// Its memory in use, bytes.
    pub resident_bytes: u64,
    /// The terminal it is in the foreground or background of.
    pub has_terminal: bool,
    /// Its command, arguments included.
    pub command: Vec<String>,
}

/// What is known of `processes`, in the order of their ids; those that have ended meanwhile
/// are left out.
#[must_use]
pub fn list(processes: &[HostProcess]) -> Vec<Listed> {
    let mut listed: Vec<Listed> =
        processes.iter().filter_map(|process| look(process.pid).ok()).collect();
    listed.sort_by_key(|process| process.pid);
    listed
}

fn look(pid: i32) -> procfs::ProcResult<Listed> {
    let process = Process::new(pid)?;
    let (stat, status) = (process.stat()?, process.status()?);
    let ticks = procfs::ticks_per_second().max(1);
    let nanos = (stat.utime + stat.stime).saturating_mul(1_000_000_000 / ticks);
    let mut command = process.cmdline().unwrap_or_default();
    if command.is_empty() {
        command = vec![format!("[{}]", stat.comm)];
    }
    Ok(Listed {
        pid,
        // The innermost of its pid namespaces comes last (proc_pid_status(5)).
        pid_inside: status.nspid.and_then(|ids| ids.last().copied()).unwrap_or(pid),
        parent: stat.ppid,
        user: status.euid,
        cpu: Duration::from_nanos(nanos),
        resident_bytes: stat.rss.saturating_mul(procfs::page_size()),
        has_terminal: stat.tty_nr != 0,
        command,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_runtime::Role;

    #[test]
    fn this_process_is_one() {
        let own = i32::try_from(std::process::id()).unwrap();
        let processes = [own, i32::MAX].map(|pid| HostProcess { pid, role: Role::Workload });
        let listed = list(&processes);
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert_eq!((listed[0].pid, listed[0].pid_inside), (own, own));
        assert!(listed[0].resident_bytes > 0 && !listed[0].command[0].is_empty());
    }
}
