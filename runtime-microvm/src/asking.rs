//! What any process may ask of a running microVM: its monitor answers, whoever made it.

use bulkhead_runtime::{Error, Isolation, Record, SandboxId, StateDir, Status};
use oci_spec::runtime::{LinuxCpu, LinuxResources};

use crate::affinity;
use crate::error::{MicroVmError, io_error, wall};
use crate::monitor::control;
use crate::monitor::report::{NotDone, Report};
use crate::monitor::request::Request;

/// Holds the machine where it is.
pub fn pause(dir: &StateDir, record: &mut Record) -> Result<(), Error> {
    const STEP: &str = "pausing the microVM";
    let paused = || Error::Paused { id: record.id.clone() };
    ask(dir, &record.id, Request::Pause, STEP, paused)?;
    note(dir, record, Status::Paused)
}

/// Lets a held machine go on.
pub fn unpause(dir: &StateDir, record: &mut Record) -> Result<(), Error> {
    const STEP: &str = "unpausing the microVM";
    let id = record.id.clone();
    let was = record.status;
    // First, since from the next step on the workload may end and its owner say so.
    if is_paused(dir) {
        note(dir, record, Status::Running)?;
    }
    let not_paused = || Error::NotPaused { id: id.clone() };
    let done = ask(dir, &id, Request::Unpause, STEP, not_paused);
    if matches!(done, Err(Error::Wall { .. })) {
        note(dir, record, was)?;
    }
    done
}

/// Changes the limits of the machine whose monitor `pid` is, as far as a machine's can be
/// changed while it runs.
pub fn update(pid: i32, resources: &LinuxResources) -> Result<(), Error> {
    let cpu = resources.cpu().as_ref();
    let rate = |cpu: &LinuxCpu| cpu.quota().is_some() || cpu.period().is_some();
    let fixed = [
        (resources.memory().is_some(), "changing the memory of a running machine"),
        (cpu.is_some_and(rate), "changing the processor limit of a running machine"),
        (cpu.is_some_and(|cpu| cpu.shares().is_some()), "a share of processor time"),
        (resources.pids().is_some(), "changing the limit of processes of a running machine"),
        (resources.block_io().is_some(), "limits of the host's disks"),
    ];
    if let Some((_, what)) = fixed.into_iter().find(|(asked, _)| *asked) {
        return Err(Error::Unsupported { isolation: Isolation::MicroVm, what });
    }
    affinity::confine(pid, resources).map_err(wall("changing the limits"))
}

/// Whether somebody has paused the microVM.
pub fn is_paused(dir: &StateDir) -> bool {
    dir.read().is_ok_and(|record| record.status == Status::Paused)
}

fn note(dir: &StateDir, record: &mut Record, status: Status) -> Result<(), Error> {
    record.status = status;
    Ok(dir.write(record)?)
}

fn ask(
    dir: &StateDir,
    id: &SandboxId,
    request: Request,
    step: &'static str,
    already: impl FnOnce() -> Error,
) -> Result<(), Error> {
    let asked = || -> Result<Option<Report>, MicroVmError> {
        let monitor = control::call(dir.path()).map_err(io_error("reach the monitor"))?;
        monitor.send(&request, &[]).map_err(io_error("ask the monitor"))?;
        let heard = monitor.receive(true).map_err(io_error("understand the monitor"))?;
        Ok(heard.map(|(report, _)| report))
    };
    match asked().map_err(wall(step))? {
        Some(Report::Done(Ok(()))) => Ok(()),
        Some(Report::Done(Err(NotDone::Already))) => Err(already()),
        // Or it has ended at this moment.
        Some(Report::Done(Err(NotDone::NotRunning))) | None => {
            Err(Error::NotRunning { id: id.clone() })
        }
        Some(_) => {
            let nonsense = std::io::ErrorKind::InvalidData.into();
            Err(wall(step)(MicroVmError::Io {
                action: "understand the monitor",
                source: nonsense,
            }))
        }
    }
}
