//! Limits that weigh a container against others on the host's kernel, or meter the
//! host's disks: a machine has neither.

use oci_spec::runtime::{Linux, LinuxMemory};

use super::ConvertError;

/// Refuses a limit that a microVM cannot keep.
pub(super) fn refuse(linux: &Linux) -> Result<(), ConvertError> {
    let Some(resources) = linux.resources() else { return Ok(()) };
    // Without swap, that with swap is the same limit.
    let swaps =
        |memory: &LinuxMemory| memory.swap().is_some_and(|it| Some(it) != memory.limit());
    let memory = resources.memory().as_ref();
    let shares = resources.cpu().as_ref().and_then(oci_spec::runtime::LinuxCpu::shares);
    let asked = [
        (memory.is_some_and(swaps), "swap (--memory-swap)"),
        (
            memory.is_some_and(|memory| memory.reservation().is_some()),
            "a reservation of memory (--memory-reservation)",
        ),
        (shares.is_some(), "a share of processor time (--cpu-shares); limit it with --cpus"),
        (
            resources.block_io().is_some(),
            "limits of the host's disks (--blkio-weight, --device-read-bps, ...)",
        ),
    ];
    match asked.into_iter().find(|(asked, _)| *asked) {
        Some((_, what)) => Err(ConvertError::Unsupported(what.to_owned())),
        None => Ok(()),
    }
}
