//! The host's processors a microVM may run on: those of its monitor's threads.

use std::io;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use oci_spec::runtime::{LinuxResources, Spec};

use crate::error::{MicroVmError, io_error};

/// Confines the monitor `pid` to the processors that `spec` names, if it names any.
pub fn confine_to(pid: i32, spec: &Spec) -> Result<(), MicroVmError> {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    resources.map_or(Ok(()), |resources| confine(pid, resources))
}

/// Confines the monitor `pid` to the processors that `resources` name, if they name any.
pub fn confine(pid: i32, resources: &LinuxResources) -> Result<(), MicroVmError> {
    let list = resources.cpu().as_ref().and_then(|cpu| cpu.cpus().as_ref());
    let Some(list) = list.filter(|list| !list.is_empty()) else { return Ok(()) };
    let set =
        parse(list).ok_or_else(|| io_error("understand the list of processors")(invalid()))?;
    let threads = || -> io::Result<()> {
        // Threads to come have it from those that are there.
        for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let name = entry?.file_name();
            let thread =
                name.to_str().and_then(|name| name.parse().ok()).ok_or_else(invalid)?;
            sched_setaffinity(Pid::from_raw(thread), &set)?;
        }
        Ok(())
    };
    threads().map_err(io_error("confine the machine to processors"))
}

fn invalid() -> io::Error {
    io::ErrorKind::InvalidInput.into()
}

/// A list such as `0-2,5`.
fn parse(list: &str) -> Option<CpuSet> {
    let mut set = CpuSet::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        if first > last || last >= CpuSet::count() {
            return None;
        }
        for processor in first..=last {
            set.set(processor).ok()?;
        }
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_a_list() {
        let set = parse("0-2,5").unwrap();
        let members: Vec<usize> =
            (0..8).filter(|processor| set.is_set(*processor).unwrap()).collect();
        assert_eq!(members, [0, 1, 2, 5]);
        for wrong in ["", "a", "2-1", "1,", "99999"] {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
    }
}
