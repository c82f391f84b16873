//! What a workload asks for, observed while it runs in a container: system calls,
//! memory, the time it takes to start.
//!
//! It is run twice, for counting system calls makes each of them slower: once for
//! time and memory, once to count.

use std::io;
use std::time::{Duration, Instant as Deadline};

use bulkhead_runtime::{
    Bundle, Clock, Create, Error as RuntimeError, Exit, IdError, Runtime, Sandbox, SandboxId,
    Stdio, Usage,
};

use crate::isolation::witness::Witness;
use crate::poll::wait_readable;
use crate::statistics::real;
use crate::stop::Stop;

/// What was observed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// From the request to the workload's exec.
    pub start: Option<Duration>,
    /// From then on until it exited or the time was over.
    pub ran: Duration,
    /// Its exit code; none when the time was over first.
    pub exit_code: Option<u8>,
    /// The most memory it had, bytes, where the host accounts for it.
    pub peak_memory_bytes: Option<u64>,
    /// System calls of all its processes.
    pub system_calls: u64,
    /// System calls a second. Of a workload that went on until the time was over it
    /// is the least they can be: it was slowed down by the counting.
    pub system_calls_per_second: f64,
}

/// A workload that could not be observed.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// No name could be drawn for the sandbox.
    #[error("naming a sandbox")]
    Name(#[from] IdError),
    /// Its output has nowhere to go.
    #[error("opening /dev/null for the workload's output")]
    Output(#[source] io::Error),
    /// The runtime could not do something.
    #[error("{step}")]
    Runtime {
        /// What was being done.
        step: &'static str,
        /// The runtime's own error.
        #[source]
        source: Box<RuntimeError>,
    },
    /// Its system calls cannot be counted.
    #[error("tracing the workload's processes (ptrace)")]
    Trace(#[source] io::Error),
    /// It could not be waited for.
    #[error("waiting for the workload")]
    Wait(#[source] io::Error),
    /// The observation was asked to stop.
    #[error("interrupted")]
    Interrupted,
}

fn failed(step: &'static str) -> impl FnOnce(RuntimeError) -> ObserveError {
    move |error| match error {
        RuntimeError::Interrupted { .. } => ObserveError::Interrupted,
        source => ObserveError::Runtime { step, source: Box::new(source) },
    }
}

/// One run of the workload.
struct Pass {
    start: Option<Duration>,
    ran: Duration,
    exit: Option<Exit>,
    usage: Usage,
    calls: u64,
}

/// Runs the workload of `bundle` twice, each time until it exits or `limit` is over.
///
/// # Errors
///
/// [`ObserveError`], after which nothing of the workload is left.
pub fn observe(
    runtime: &dyn Runtime,
    bundle: &Bundle,
    limit: Duration,
    stop: Stop<'_>,
) -> Result<Observation, ObserveError> {
    let timed = pass(runtime, bundle, limit, stop, false)?;
    let counted = pass(runtime, bundle, limit, stop, true)?;
    // The calls of a workload that came to its end are those it always makes.
    let ended = timed.exit.is_some() && counted.exit.is_some();
    let during = if ended { timed.ran } else { counted.ran };
    Ok(Observation {
        start: timed.start,
        ran: timed.ran,
        exit_code: timed.exit.map(|exit| exit.code()),
        peak_memory_bytes: timed.usage.memory_peak_bytes,
        system_calls: counted.calls,
        system_calls_per_second: real(counted.calls) / during.as_secs_f64().max(f64::EPSILON),
    })
}

fn pass(
    runtime: &dyn Runtime,
    bundle: &Bundle,
    limit: Duration,
    stop: Stop<'_>,
    count: bool,
) -> Result<Pass, ObserveError> {
    let id = SandboxId::random()?;
    let stdio = Stdio::null().map_err(ObserveError::Output)?;
    let request = Create::attached(&id, bundle, stdio);
    // Dropping it, on an error, releases everything.
    let mut sandbox = runtime.create(request).map_err(failed("creating a sandbox"))?;
    let processes = sandbox.processes().map_err(failed("listing the sandbox's processes"))?;
    let pids: Vec<i32> = processes.iter().map(|process| process.pid).collect();
    let witness =
        count.then(|| Witness::attach(&pids)).transpose().map_err(ObserveError::Trace)?;
    sandbox.start(stop.descriptor()).map_err(failed("starting the workload"))?;
    // What the container itself did up to here is not the workload's.
    let before = witness.as_ref().map(Witness::counts).unwrap_or_default();
    let begun = Deadline::now();
    let exit = wait(&mut *sandbox, begun + limit, stop)?;
    let ran = begun.elapsed();
    let calls =
        witness.as_ref().map_or(0, |witness| witness.counts().since(&before).values().sum());
    let usage = sandbox.usage().map_err(failed("reading the sandbox's usage"))?;
    // Whoever is killed must not wait for a tracer that is gone.
    sandbox.delete().map_err(failed("releasing the sandbox"))?;
    let start = sandbox.timeline().between(Clock::Request, Clock::WorkloadExec);
    Ok(Pass { start, ran, exit, usage, calls })
}

/// Waits for the exit, up to `deadline`.
fn wait(
    sandbox: &mut dyn Sandbox,
    deadline: Deadline,
    stop: Stop<'_>,
) -> Result<Option<Exit>, ObserveError> {
    loop {
        let exit =
            sandbox.wait(Some(Duration::ZERO)).map_err(failed("waiting for the workload"))?;
        let left = deadline.saturating_duration_since(Deadline::now());
        if exit.is_some() || left.is_zero() {
            return Ok(exit);
        }
        let fds = [Some(sandbox.event_fd()), stop.descriptor()];
        wait_readable(fds, Some(left)).map_err(ObserveError::Wait)?;
        if stop.requested() {
            return Err(ObserveError::Interrupted);
        }
    }
}
