//! What the processes of a sandbox can and do ask of the host.

use bulkhead_reports::schema::{Surface, SurfaceProcess};
use bulkhead_runtime::HostProcess;

use super::observe;
use super::session::Session;
use super::witness::Witness;
use crate::profile::Profile;
use crate::sandbox::{Contender, SampleError};

/// The order for a fixed piece of ordinary work: all operations of the stopwatch,
/// half a millisecond each.
const WORK: &str = "work";

/// Has the sandbox work and counts what reaches the host's kernel meanwhile; and
/// describes `processes`, those it began with.
///
/// The count begins when the workload runs, the same instant behind every wall:
/// what it takes to build a wall is not part of what is exposed to who is behind
/// it.
pub fn measure(
    contender: Contender<'_>,
    session: &mut Session<'_>,
    processes: &[HostProcess],
    witness: &Witness,
    profile: &Profile,
) -> Result<Surface, SampleError> {
    let processes = processes.iter().map(describe).collect();
    let before = witness.counts();
    session.order(&[WORK.to_owned()], profile.sandbox_timeout)?;
    let system_calls = witness.counts().since(&before);
    session.let_go()?;
    Ok(Surface {
        runtime: contender.name().to_owned(),
        workload: "probe attempts: work".to_owned(),
        system_calls,
        processes,
    })
}

fn describe(process: &HostProcess) -> SurfaceProcess {
    /// `SECCOMP_MODE_FILTER` (linux/seccomp.h).
    const FILTER: u64 = 2;
    SurfaceProcess {
        role: process.role.as_str().to_owned(),
        capabilities: observe::capabilities(process.pid),
        namespaces: observe::own_namespaces(process.pid),
        seccomp_filter: observe::every_thread(process.pid, "Seccomp", FILTER),
        no_new_privileges: observe::every_thread(process.pid, "NoNewPrivs", 1),
    }
}
