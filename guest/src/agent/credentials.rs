//! What a process is and may do: limits, directory, user, capabilities.

use core::ffi::CStr;

use super::path::{PathBuffer, make_dir_all};
use super::spawn::failed;
use super::sys::{self, Errno};
use crate::protocol::{Capabilities, Failure, Process, Step};

/// Number of bits in a capability set.
const MAX_CAPABILITIES: u64 = 64;

/// Gives this process what `process` says, privileges last.
pub fn apply(process: &Process) -> Result<(), Failure> {
    for (index, limit) in (0..).zip(&process.rlimits) {
        sys::prlimit(limit.resource, limit.soft, limit.hard)
            .map_err(failed(Step::Rlimit(index)))?;
    }
    if let Some(adjustment) = process.oom_score_adj {
        oom_score_adj(adjustment).map_err(failed(Step::OomScoreAdj))?;
    }
    working_directory(&process.cwd).map_err(failed(Step::WorkingDirectory))?;
    sys::umask(process.umask);
    if process.uid != 0 {
        // So that it can open /dev/stdout again.
        for stream in 0..=2 {
            sys::stream_owner(stream, process.uid).map_err(failed(Step::StreamOwner))?;
        }
    }
    drop_bounding(process.capabilities.bounding).map_err(failed(Step::BoundingSet))?;
    change_user(process)?;
    sys::capset(&process.capabilities).map_err(failed(Step::CapabilitySets))?;
    raise_ambient(&process.capabilities).map_err(failed(Step::AmbientSet))?;
    if process.no_new_privileges {
        sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map_err(failed(Step::NoNewPrivileges))?;
    }
    Ok(())
}

/// Enters `path`, which is made when missing, as docker does.
pub fn working_directory(path: &CStr) -> sys::Result<()> {
    match sys::change_dir(path) {
        Err(Errno::NOENT) => {
            make_dir_all(path)?;
            sys::change_dir(path)
        }
        other => other,
    }
}

/// PID 1 is root without groups, so what is asked for and holds already is left out.
fn change_user(process: &Process) -> Result<(), Failure> {
    if !process.groups.is_empty() {
        sys::set_groups(&process.groups).map_err(failed(Step::Groups))?;
    }
    if process.gid != 0 {
        sys::set_gid(process.gid).map_err(failed(Step::Gid))?;
    }
    if process.uid != 0 {
        // The sets are fixed by capset afterwards, not by the change of user.
        sys::prctl(libc::PR_SET_KEEPCAPS, 1, 0).map_err(failed(Step::Uid))?;
        sys::set_uid(process.uid).map_err(failed(Step::Uid))?;
    }
    Ok(())
}

fn drop_bounding(keep: u64) -> sys::Result<()> {
    for capability in (0..MAX_CAPABILITIES).filter(|bit| keep >> bit & 1 == 0) {
        match sys::prctl(libc::PR_CAPBSET_DROP, capability, 0) {
            Ok(_) => {}
            // Past the last capability that this kernel knows.
            Err(Errno::INVAL) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn raise_ambient(sets: &Capabilities) -> sys::Result<()> {
    for capability in (0..MAX_CAPABILITIES).filter(|bit| sets.ambient >> bit & 1 == 1) {
        let raise = u64::from(libc::PR_CAP_AMBIENT_RAISE.unsigned_abs());
        sys::prctl(libc::PR_CAP_AMBIENT, raise, capability)?;
    }
    Ok(())
}

fn oom_score_adj(adjustment: i32) -> sys::Result<()> {
    let file = sys::open(c"/proc/self/oom_score_adj", libc::O_WRONLY)?;
    let mut text = PathBuffer::new();
    if adjustment < 0 {
        text.push(b"-")?;
    }
    text.push_number(adjustment.unsigned_abs())?;
    sys::write(&file, text.bytes()).map(drop)
}
