//! Bombs: attempts to use up what all have to share.
//!
//! They go off only where a limit the host can see holds them, under a
//! watchdog, and with an end of their own far beyond the sandbox's
//! limits. Whether a limit ended them is read from the cgroup's counters; of a
//! machine with a kernel of its own, from the memory of its monitor.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use bulkhead_probe::report::{Ending, Report};
use bulkhead_reports::schema::AttemptOutcome;
use bulkhead_runtime::{Bundle, Isolation};
use oci_spec::runtime::{LinuxMemory, LinuxPidsBuilder, LinuxResources};

use super::bait::Bait;
use super::observe;
use crate::sandbox::Contender;

/// Processes the sandbox may have.
pub const PIDS_LIMIT: u64 = 64;

/// Processes after which a fork bomb ends by itself.
const MOST_PROCESSES: u64 = 512;

/// Descriptors after which a descriptor bomb ends by itself.
const MOST_DESCRIPTORS: u64 = 100_000;

/// Bytes after which the other two end by themselves, as a multiple of the limit.
const TIMES_THE_LIMIT: u64 = 4;

/// Seconds after which those two end by themselves. Where limits work at once it
/// is never reached; in a guest whose kernel is emulated a page costs a millisecond.
const MOST_SECONDS: u64 = 5;

/// After this time without an answer the sandbox is ended.
pub const WATCHDOG: Duration = Duration::from_secs(30);

/// What a monitor may have in memory beside its guest's: its own program, tables
/// and buffers.
const MONITOR_BYTES: u64 = 48 << 20;

/// A bomb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bomb {
    Descriptors,
    Processes,
    Disk,
    Memory,
}

/// All of them; the one most likely to take the sandbox with it last.
pub const BOMBS: [Bomb; 4] = [Bomb::Descriptors, Bomb::Processes, Bomb::Disk, Bomb::Memory];

impl Bomb {
    /// As the probe calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Descriptors => "fd_bomb",
            Self::Processes => "fork_bomb",
            Self::Disk => "disk_bomb",
            Self::Memory => "memory_bomb",
        }
    }

    /// What to tell the probe.
    pub fn order(self, bait: &Bait, limits: Limits) -> Vec<String> {
        let most = (limits.memory_bytes * TIMES_THE_LIMIT).to_string();
        let mut words = vec![self.name().to_owned()];
        words.extend(match self {
            Self::Descriptors => vec![MOST_DESCRIPTORS.to_string()],
            Self::Processes => vec![MOST_PROCESSES.to_string()],
            Self::Disk => vec![bait.path("disk"), most, MOST_SECONDS.to_string()],
            Self::Memory => vec![most, MOST_SECONDS.to_string()],
        });
        words
    }
}

/// What the bundle allows the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub memory_bytes: u64,
}

/// Limits the number of processes in `bundle`, and says what else is limited, or
/// why no bomb may go off with it.
pub fn limit(contender: Contender<'_>, bundle: &mut Bundle) -> Result<Limits, String> {
    if contender.runtime.isolation() == Isolation::Native {
        return Err("nothing limits a process without a wall".to_owned());
    }
    if !contender.runtime.capabilities().limits {
        return Err("this runtime enforces no limits".to_owned());
    }
    let linux = bundle.spec.linux_mut().as_mut().ok_or("the bundle has no limits")?;
    let resources = linux.resources_mut().get_or_insert_with(LinuxResources::default);
    let pids = i64::try_from(PIDS_LIMIT).ok();
    let pids = pids.and_then(|limit| LinuxPidsBuilder::default().limit(limit).build().ok());
    resources.set_pids(pids);
    let memory = resources.memory().as_ref().and_then(LinuxMemory::limit);
    let memory_bytes = memory.and_then(|limit| u64::try_from(limit).ok());
    let memory_bytes = memory_bytes.filter(|&limit| limit > 0);
    Ok(Limits { memory_bytes: memory_bytes.ok_or("the bundle has no memory limit")? })
}

/// Where the host sees what holds a sandbox.
#[derive(Debug)]
pub enum Gauge {
    /// The cgroups of its processes.
    Cgroup { memory: PathBuf, pids: PathBuf },
    /// The monitor whose memory the guest's is part of.
    Monitor { pid: i32, threads: u64 },
}

/// What a gauge shows of a cgroup's history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    memory_kills: u64,
    forks_refused: u64,
}

impl Gauge {
    /// Finds what holds the process `pid` of a sandbox; why no bomb may go off
    /// where nothing does.
    pub fn find(pid: i32, private_kernel: bool) -> Result<Self, String> {
        if private_kernel {
            let threads = observe::status_number(pid, "Threads").unwrap_or(0);
            return Ok(Self::Monitor { pid, threads });
        }
        let dir = |controller: &str| {
            let missing = || format!("no cgroup limits its use of {controller} here");
            let dir = observe::cgroup(pid, controller).ok_or_else(missing)?;
            let files = match controller {
                "memory" => ["memory.max", "memory.limit_in_bytes"],
                _ => ["pids.max", "pids.max"],
            };
            // Version 1 says "no limit" with the largest number of pages there is.
            let limit = first_number(&dir, files).filter(|limit| *limit < 1 << 60);
            limit.map(|_| dir).ok_or_else(missing)
        };
        Ok(Self::Cgroup { memory: dir("memory")?, pids: dir("pids")? })
    }

    /// What was counted up to now.
    pub fn read(&self) -> Reading {
        let Self::Cgroup { memory, pids } = self else { return Reading::default() };
        let kills = ["memory.events", "memory.oom_control"]
            .iter()
            .find_map(|file| keyed(&observe::text(memory.join(file)), "oom_kill"));
        let refused = keyed(&observe::text(pids.join("pids.events")), "max");
        Reading { memory_kills: kills.unwrap_or(0), forks_refused: refused.unwrap_or(0) }
    }

    /// What came of a bomb, while it is still there.
    pub fn judge(
        &self,
        bomb: Bomb,
        before: Reading,
        limits: Limits,
        family: &[i32],
        report: Option<&Report>,
    ) -> (AttemptOutcome, String) {
        if let Some(Report { ending: Ending::Failed { errno }, .. }) = report {
            let error = std::io::Error::from_raw_os_error(*errno);
            return (AttemptOutcome::Refused, format!("it did not get started: {error}"));
        }
        match self {
            Self::Cgroup { memory, pids } => {
                in_cgroup(bomb, before, self.read(), (memory, pids), family)
            }
            Self::Monitor { pid, threads } => in_machine(*pid, *threads, limits),
        }
    }
}

fn in_cgroup(
    bomb: Bomb,
    before: Reading,
    now: Reading,
    (memory, pids): (&PathBuf, &PathBuf),
    family: &[i32],
) -> (AttemptOutcome, String) {
    let kills = now.memory_kills - before.memory_kills;
    let limit = first_number(memory, ["memory.max", "memory.limit_in_bytes"]).unwrap_or(0);
    let peak = first_number(memory, ["memory.peak", "memory.max_usage_in_bytes"]);
    let killed = (kills > 0)
        .then(|| format!("the kernel ended {kills} of its processes at {} MiB", limit >> 20));
    let limited = |evidence| (AttemptOutcome::Limited, evidence);
    match bomb {
        Bomb::Processes => {
            let refused = now.forks_refused - before.forks_refused;
            let alive = first_number(pids, ["pids.current"; 2]).unwrap_or(0);
            if refused > 0 {
                return limited(format!("{alive} processes, {refused} more were refused"));
            }
            (AttemptOutcome::Reached, format!("{alive} processes and no limit in sight"))
        }
        Bomb::Descriptors => {
            let held = family.iter().map(|&pid| observe::descriptors(pid).len()).max();
            let held = u64::try_from(held.unwrap_or(0)).unwrap_or(0);
            match killed {
                Some(killed) => limited(killed),
                None if held < MOST_DESCRIPTORS => limited(format!(
                    "no process of the sandbox got more than {held} descriptors"
                )),
                None => (AttemptOutcome::Reached, format!("it holds {held} descriptors")),
            }
        }
        Bomb::Disk | Bomb::Memory => match (killed, peak) {
            (Some(killed), _) => limited(killed),
            (None, Some(peak)) if peak <= limit => limited(format!(
                "it never had more than {} MiB of its {} MiB",
                peak >> 20,
                limit >> 20
            )),
            _ => (AttemptOutcome::Reached, "it took more than its limit".to_owned()),
        },
    }
}

/// Whatever goes off inside a machine, the host sees its monitor only.
fn in_machine(pid: i32, threads: u64, limits: Limits) -> (AttemptOutcome, String) {
    let Some(peak) = observe::status_number(pid, "VmHWM").map(|kib| kib << 10) else {
        return (AttemptOutcome::Limited, "it took its own machine down".to_owned());
    };
    let more = observe::status_number(pid, "Threads").unwrap_or(0).saturating_sub(threads);
    let evidence = format!(
        "the monitor of the {} MiB machine never had more than {} MiB and started {more} threads",
        limits.memory_bytes >> 20,
        peak >> 20
    );
    if peak <= limits.memory_bytes + MONITOR_BYTES && more == 0 {
        (AttemptOutcome::Limited, evidence)
    } else {
        (AttemptOutcome::Reached, evidence)
    }
}

/// The first of `files` in a cgroup that holds a number.
fn first_number(dir: &std::path::Path, files: [&str; 2]) -> Option<u64> {
    let read = |file: &str| fs::read_to_string(dir.join(file)).ok()?.trim().parse().ok();
    files.into_iter().find_map(read)
}

/// The value of `key` in `key value` lines.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_their_whole_name() {
        let text = "oom 9\noom_kill 2\nmax 5\n";
        assert_eq!(keyed(text, "oom_kill"), Some(2));
        assert_eq!(keyed(text, "max"), Some(5));
        assert_eq!(keyed(text, "oom_kill_disable"), None);
    }

    #[test]
    fn a_process_that_nothing_limits_sets_off_no_bomb() {
        assert!(Gauge::find(-1, false).is_err());
    }

    #[test]
    fn a_cgroup_tells_what_ended_a_bomb() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().to_owned();
        let write = |file: &str, text: &str| fs::write(place.join(file), text).unwrap();
        write("memory.limit_in_bytes", "67108864\n");
        write("memory.max_usage_in_bytes", "67108864\n");
        write("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n");
        write("pids.current", "64\n");
        write("pids.events", "max 0\n");
        let gauge = Gauge::Cgroup { memory: place.clone(), pids: place.clone() };
        let limits = Limits { memory_bytes: 64 << 20 };
        let judge = |bomb| gauge.judge(bomb, Reading::default(), limits, &[], None).0;
        assert_eq!(judge(Bomb::Processes), AttemptOutcome::Reached);
        assert_eq!(judge(Bomb::Memory), AttemptOutcome::Limited);
        write("memory.max_usage_in_bytes", "167108864\n");
        assert_eq!(judge(Bomb::Memory), AttemptOutcome::Reached);
        write("memory.oom_control", "oom_kill 1\n");
        write("pids.events", "max 3\n");
        assert_eq!(judge(Bomb::Memory), AttemptOutcome::Limited);
        assert_eq!(judge(Bomb::Processes), AttemptOutcome::Limited);
    }
}
