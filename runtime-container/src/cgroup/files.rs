//! Reading, writing and removing the files and directories of cgroups.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{CgroupError, io_error};

/// How long the kernel is given to let go of a cgroup whose processes are dead.
const PATIENCE: Duration = Duration::from_secs(5);

/// First pause between attempts; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_micros(100);

/// Longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Writes a value to an existing control file.
pub(super) fn write(path: &Path, value: &str) -> Result<(), CgroupError> {
    let file = fs::OpenOptions::new().write(true).open(path).map_err(io_error("open", path))?;
    io::Write::write_all(&mut &file, value.as_bytes()).map_err(io_error("write", path))
}

/// A file with one number; `None` when it is absent or says `max`.
pub(super) fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim_end().parse().ok()
}

/// The value of `key` in a file of `key value` lines.
pub(super) fn keyed(path: &Path, key: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Process ids, one a line; none when the cgroup does not exist.
pub(super) fn processes(path: &Path) -> Result<Vec<i32>, CgroupError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
        // ENODEV: the cgroup was removed while its file was open.
        Err(error) if is_gone(&error) => Ok(Vec::new()),
        Err(error) => Err(io_error("read", path)(error)),
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

/// Creates a cgroup, and its parent when that is missing. One of the same name
/// that holds nothing is taken over.
pub(super) fn create(dir: &Path) -> Result<(), CgroupError> {
    let made = match fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = dir.parent() {
                fs::create_dir_all(parent).map_err(io_error("create", parent))?;
            }
            fs::create_dir(dir)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_dir(dir).and_then(|()| fs::create_dir(dir))
        }
        other => other,
    };
    made.map_err(io_error("create", dir))
}

/// Moves every process that `listed` names to the cgroup whose list is `to`: those
/// they make meanwhile as well.
pub(super) fn move_all(
    listed: impl Fn() -> Result<Vec<i32>, CgroupError>,
    to: &Path,
) -> Result<(), CgroupError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let there = processes(to)?;
        let left: Vec<i32> = listed()?.into_iter().filter(|pid| !there.contains(pid)).collect();
        if left.is_empty() {
            return Ok(());
        }
        for pid in left {
            match write(to, &pid.to_string()) {
                // It has ended meanwhile.
                Err(CgroupError::Io { source, .. })
                    if source.raw_os_error() == Some(libc::ESRCH) => {}
                other => other?,
            }
        }
        if Instant::now() > deadline {
            let source = io::ErrorKind::TimedOut.into();
            return Err(io_error("move every process to", to)(source));
        }
    }
}

/// Sends `SIGKILL` until no process is left in `procs`.
pub(super) fn kill_all(procs: &Path) -> Result<(), CgroupError> {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = FIRST_PAUSE;
    loop {
        let pids = processes(procs)?;
        if pids.is_empty() {
            return Ok(());
        }
        for pid in pids.into_iter().filter_map(Pid::from_raw) {
            // Gone already is as good.
            let _ = kill_process(pid, Signal::KILL);
        }
        if Instant::now() > deadline {
            let source = io::ErrorKind::TimedOut.into();
            return Err(io_error("kill every process in", procs)(source));
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Removes a cgroup, waiting for dying processes to leave it and removing
/// those the container made below it.
pub(super) fn remove(dir: &Path) -> Result<(), CgroupError> {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = FIRST_PAUSE;
    loop {
        match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error)
                if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {}
            Err(error) => return Err(io_error("remove", dir)(error)),
        }
        for child in fs::read_dir(dir).into_iter().flatten().flatten() {
            if child.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove(&child.path())?;
            }
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_key_and_not_by_prefix() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory.events");
        fs::write(&path, "low 0\noom 3\noom_kill 2\n").unwrap();
        assert_eq!(keyed(&path, "oom_kill"), Some(2));
        assert_eq!(keyed(&path, "oom"), Some(3));
        assert_eq!(keyed(&path, "high"), None);
        assert_eq!(number(&path), None);
    }

    #[test]
    fn a_cgroup_that_is_gone_has_no_processes() {
        assert!(processes(Path::new("/nonexistent/cgroup.procs")).unwrap().is_empty());
        remove(Path::new("/nonexistent/cgroup")).unwrap();
    }
}
