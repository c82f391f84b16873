//! Processes that each start one sandbox, all at the same moment.
//!
//! They are forks of the harness, not threads: runtimes fork, which from
//! several threads of one process they would do one after the other (the
//! kernel lets one at a time change or copy an address space). A storm in
//! earnest is many `bulkhead run`, each a process of its own.
//!
//! Three pipes connect them. The end of `gate` is the signal to begin, for all
//! at once. A byte in `hold`, which nobody reads, tells them to stop and release;
//! its end tells the same when the harness was killed. A pipe of its own takes
//! each one's report: `up REQUEST FIRST_OUTPUT` in nanoseconds of
//! `CLOCK_MONOTONIC`, which is the same clock in every process, or `error` and
//! what went wrong.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant as Deadline};

use bulkhead_probe::line::READY;
use bulkhead_runtime::{Bundle, Clock, Instant};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

use crate::poll::wait_readable;
use crate::sandbox::{Contender, Observed, SampleError};
use crate::stop::Stop;

/// A sandbox that is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Up {
    pub request: Instant,
    pub first_output: Instant,
}

/// The processes, from their fork until each has released its sandbox.
pub struct Starters {
    all: Vec<Starter>,
    gate: Option<PipeWriter>,
    hold: Option<PipeWriter>,
}

struct Starter {
    pid: Pid,
    report: PipeReader,
    said: Vec<u8>,
}

impl Starters {
    /// Makes `count` of them, which wait for [`Self::go`].
    pub fn fork(
        contender: Contender<'_>,
        bundle: &Bundle,
        count: u32,
        timeout: Duration,
    ) -> Result<Self, SampleError> {
        let (gate, gate_writer) = io::pipe().map_err(SampleError::Pipe)?;
        let (hold, hold_writer) = io::pipe().map_err(SampleError::Pipe)?;
        let mut starters =
            Self { all: Vec::new(), gate: Some(gate_writer), hold: Some(hold_writer) };
        for _ in 0..count {
            let (report, report_writer) = io::pipe().map_err(SampleError::Pipe)?;
            // SAFETY: the harness has one thread, so that the child may do whatever the
            // parent might.
            match unsafe { fork() }.map_err(|errno| SampleError::Fork(errno.into()))? {
                ForkResult::Parent { child } => {
                    starters.all.push(Starter { pid: child, report, said: Vec::new() });
                }
                ForkResult::Child => {
                    // The writing ends are the harness's alone.
                    (starters.gate, starters.hold) = (None, None);
                    let pipes = Pipes { gate, hold, report: report_writer };
                    be_starter(pipes, contender, bundle, timeout)
                }
            }
        }
        Ok(starters)
    }

    /// Lets all of them begin.
    pub fn go(&mut self) {
        self.gate = None;
    }

    /// Waits until every sandbox is up.
    pub fn wait_until_up(
        &mut self,
        timeout: Duration,
        stop: Stop<'_>,
    ) -> Result<Vec<Up>, SampleError> {
        let deadline = Deadline::now() + timeout;
        let count = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        let mut ups = Vec::new();
        for starter in &mut self.all {
            let line = starter.line(deadline, stop)?;
            let line =
                line.ok_or(SampleError::TimedOut { awaited: "first output", timeout })?;
            let failed = || SampleError::OneOfMany {
                count,
                said: line.strip_prefix("error ").unwrap_or(&line).to_owned(),
            };
            ups.push(parse(&line).ok_or_else(failed)?);
        }
        Ok(ups)
    }

    /// Has every sandbox released and every process end.
    pub fn take_down(mut self, timeout: Duration) -> Result<(), SampleError> {
        self.end(timeout)
    }

    fn end(&mut self, timeout: Duration) -> Result<(), SampleError> {
        self.gate = None;
        if let Some(mut hold) = self.hold.take() {
            // Its end says the same.
            let _ = hold.write_all(b".");
        }
        let deadline = Deadline::now() + timeout;
        let count = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        let mut result = Ok(());
        let never = AtomicBool::new(false);
        for mut starter in self.all.drain(..) {
            let line = starter.line(deadline, Stop::on_flag(&never));
            // All of them, whatever happens to one.
            let said = match line {
                Ok(Some(line)) if line == "released" => None,
                Ok(Some(line)) if line.is_empty() => Some("it ended without a word".to_owned()),
                Ok(Some(line)) => Some(line),
                Ok(None) => Some(format!("not released within {timeout:?}")),
                Err(error) => Some(error.to_string()),
            };
            if let Some(said) = said {
                // What it started dies with it.
                let _ = kill(starter.pid, Signal::SIGKILL);
                result = result.and(Err(SampleError::OneOfMany { count, said }));
            }
            let _ = waitpid(starter.pid, None);
        }
        result
    }
}

/// How long a failed storm may take to be over.
const CLEAN_UP_WITHIN: Duration = Duration::from_secs(30);

impl Drop for Starters {
    fn drop(&mut self) {
        // Why it failed has been said; those that had failed themselves are gone.
        let _ = self.end(CLEAN_UP_WITHIN);
    }
}

impl Starter {
    /// The next line of its report; an empty one at the end, none when it has not
    /// come in time.
    fn line(
        &mut self,
        deadline: Deadline,
        stop: Stop<'_>,
    ) -> Result<Option<String>, SampleError> {
        loop {
            if let Some(end) = self.said.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.said.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()));
            }
            let left = deadline.saturating_duration_since(Deadline::now());
            if stop.requested() {
                return Err(SampleError::Interrupted);
            }
            if left.is_zero() {
                return Ok(None);
            }
            let fds = [Some(self.report.as_fd()), stop.descriptor()];
            let [report, _] = wait_readable(fds, Some(left)).map_err(SampleError::Pipe)?;
            if report {
                let mut buffer = [0; 1024];
                let count = self.report.read(&mut buffer).map_err(SampleError::Pipe)?;
                if count == 0 {
                    return Ok(Some(String::new()));
                }
                self.said.extend_from_slice(&buffer[..count]);
            }
        }
    }
}

fn parse(line: &str) -> Option<Up> {
    let (request, first_output) = line.strip_prefix("up ")?.split_once(' ')?;
    let instant = |text: &str| text.parse().ok().map(Instant::from_nanos);
    Some(Up { request: instant(request)?, first_output: instant(first_output)? })
}

/// A starter's ends of the pipes.
struct Pipes {
    gate: PipeReader,
    hold: PipeReader,
    report: PipeWriter,
}

/// The life of a starter. Nothing of the harness's is dropped at its end: it is
/// the harness's own.
fn be_starter(
    mut pipes: Pipes,
    contender: Contender<'_>,
    bundle: &Bundle,
    timeout: Duration,
) -> ! {
    let lived = catch_unwind(AssertUnwindSafe(|| live(&mut pipes, contender, bundle, timeout)));
    let last = match &lived {
        Ok(Ok(())) => "released\n".to_owned(),
        Ok(Err(error)) => format!("error {}\n", crate::chain(error)),
        Err(_) => "error it panicked\n".to_owned(),
    };
    // Without a reader there is nobody to tell.
    let _ = pipes.report.write_all(last.as_bytes());
    // SAFETY: ends the process at once; its sandbox has been released.
    unsafe { libc::_exit(0) }
}

fn live(
    pipes: &mut Pipes,
    contender: Contender<'_>,
    bundle: &Bundle,
    timeout: Duration,
) -> Result<(), SampleError> {
    let never = AtomicBool::new(false);
    let stop = Stop::on_flag_or_descriptor(&never, pipes.hold.as_fd());
    // Its end is what is waited for.
    pipes.gate.read(&mut [0]).map_err(SampleError::Pipe)?;
    let mut observed = Observed::start(contender.runtime, bundle, stop)?;
    observed.wait_for_line(READY, timeout, stop)?;
    let timeline = observed.timeline();
    contender.check(&timeline)?;
    let at = |clock| timeline.get(clock).map_or(0, Instant::as_nanos);
    let line = format!("up {} {}\n", at(Clock::Request), at(Clock::FirstOutput));
    pipes.report.write_all(line.as_bytes()).map_err(SampleError::Pipe)?;
    wait_readable([Some(pipes.hold.as_fd())], None).map_err(SampleError::Pipe)?;
    observed.release().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_what_a_starter_writes(request: u64, first_output: u64) {
            let up = parse(&format!("up {request} {first_output}")).unwrap();
            prop_assert_eq!((up.request.as_nanos(), up.first_output.as_nanos()), (request, first_output));
        }

        #[test]
        fn never_panics(line: String) {
            parse(&line);
        }
    }
}
