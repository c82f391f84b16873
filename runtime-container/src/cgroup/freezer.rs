//! Holding every process of a cgroup where it is.
//!
//! Version 2 has a file for it in every cgroup. On version 1 it is a hierarchy of
//! its own, in which a container gets a cgroup when it is first paused: most never
//! are, and each directory is part of the price of a start.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::{CgroupError, files, io_error};

/// How long processes may take to be held: one that waits for a device cannot be
/// before that has answered.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// How often processes are asked in vain before they are let on for a moment.
const LET_ON_EVERY: u32 = 50;

/// Files of version 1 (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst).
const STATE: &str = "freezer.state";
/// Files of version 2 (Documentation/admin-guide/cgroup-v2.rst, "cgroup.freeze").
const FREEZE: &str = "cgroup.freeze";
const EVENTS: &str = "cgroup.events";

/// Holds those in `dir`, on version 2.
pub(super) fn freeze_v2(dir: &Path) -> Result<(), CgroupError> {
    files::write(&dir.join(FREEZE), "1")?;
    let events = dir.join(EVENTS);
    until_held(&events, || Ok(files::keyed(&events, "frozen") == Some(1)))
        .inspect_err(|_| drop(thaw_v2(dir)))
}

/// Lets those in `dir` go on, on version 2.
pub(super) fn thaw_v2(dir: &Path) -> Result<(), CgroupError> {
    unless_gone(files::write(&dir.join(FREEZE), "0"))
}

/// Whether those in `dir` are to be held, on version 2.
pub(super) fn is_frozen_v2(dir: &Path) -> bool {
    files::number(&dir.join(FREEZE)) == Some(1)
}

/// Holds the processes that `listed` names by moving them to `dir`, a cgroup of the
/// freezer's hierarchy on version 1.
pub(super) fn freeze_v1(
    dir: &Path,
    listed: impl Fn() -> Result<Vec<i32>, CgroupError>,
) -> Result<(), CgroupError> {
    if !dir.is_dir() {
        files::create(dir)?;
    }
    let state = dir.join(STATE);
    // Before the first is there: each is held as it comes, and can make no other.
    files::write(&state, "FROZEN")?;
    let mut looks = 0_u32;
    let held = || -> Result<bool, CgroupError> {
        let inside: BTreeSet<i32> =
            files::processes(&dir.join("cgroup.procs"))?.into_iter().collect();
        let mut complete = true;
        for pid in listed()?.iter().filter(|pid| !inside.contains(pid)) {
            complete = false;
            match files::write(&dir.join("cgroup.procs"), &pid.to_string()) {
                // It has ended meanwhile.
                Err(CgroupError::Io { source, .. })
                    if source.raw_os_error() == Some(libc::ESRCH) => {}
                other => other?,
            }
        }
        // Reading it has the kernel look whether all are held by now.
        let now = std::fs::read_to_string(&state).map_err(io_error("read", &state))?;
        if complete && now.trim() == "FROZEN" {
            return Ok(true);
        }
        // The kernel asks each process once. One that could not be held just then, a
        // parent in vfork(2) for one, has to be asked again; and should its child be
        // what keeps it, that has to get on first.
        looks += 1;
        if looks.is_multiple_of(LET_ON_EVERY) {
            files::write(&state, "THAWED")?;
            thread::sleep(LOOK_AGAIN);
        }
        files::write(&state, "FROZEN")?;
        Ok(false)
    };
    until_held(&state, held).inspect_err(|_| drop(thaw_v1(dir)))
}

/// Lets those in `dir` go on, on version 1.
pub(super) fn thaw_v1(dir: &Path) -> Result<(), CgroupError> {
    unless_gone(files::write(&dir.join(STATE), "THAWED"))
}

/// Whether those in `dir` are to be held, on version 1.
pub(super) fn is_frozen_v1(dir: &Path) -> bool {
    std::fs::read_to_string(dir.join(STATE)).is_ok_and(|state| state.trim() != "THAWED")
}

fn until_held(
    path: &Path,
    mut held: impl FnMut() -> Result<bool, CgroupError>,
) -> Result<(), CgroupError> {
    let deadline = Instant::now() + PATIENCE;
    while !held()? {
        if Instant::now() > deadline {
            let source = io::ErrorKind::TimedOut.into();
            return Err(io_error("hold every process by", path)(source));
        }
        thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// A cgroup that is not there holds nobody.
fn unless_gone(result: Result<(), CgroupError>) -> Result<(), CgroupError> {
    match result {
        Err(CgroupError::Io { source, .. })
            if source.kind() == io::ErrorKind::NotFound
                || source.raw_os_error() == Some(libc::ENODEV) =>
        {
            Ok(())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_cgroup_that_was_never_paused_is_not_frozen() {
        let dir = tempfile::tempdir().unwrap();
        let nowhere = dir.path().join("none");
        assert!(!is_frozen_v1(&nowhere) && !is_frozen_v2(&nowhere));
        thaw_v1(&nowhere).unwrap();
        thaw_v2(&nowhere).unwrap();
    }

    #[test]
    fn version_2_is_frozen_when_the_kernel_says_so() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FREEZE), "0\n").unwrap();
        fs::write(dir.path().join(EVENTS), "populated 1\nfrozen 1\n").unwrap();
        freeze_v2(dir.path()).unwrap();
        assert!(is_frozen_v2(dir.path()));
        thaw_v2(dir.path()).unwrap();
        assert!(!is_frozen_v2(dir.path()));
    }
}
