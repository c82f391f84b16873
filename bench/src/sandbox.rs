//! One sandbox, observed from request to release.

use std::io;
use std::time::Duration;

use bulkhead_reports::schema::Start;
use bulkhead_runtime::{
    Bundle, Clock, Create, Error as RuntimeError, Exit, HostProcess, IdError, Instant, Runtime,
    Sandbox, SandboxId, Signal, Stdio, Timeline, Usage,
};

use crate::poll::wait_readable;
use crate::stop::Stop;
use crate::stream::Stream;
use crate::waiting::Waiting;

/// The probe's verb for a greeting as soon as it is handed its work: of an application
/// that is saved when it waits for that.
pub const WOKEN: &str = "woken";

/// Output kept of one sandbox, bytes; the probe writes a few kilobytes.
const MAX_OUTPUT: usize = 1 << 20;

/// Why a sample could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The run was asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// No name could be drawn for the sandbox.
    #[error("naming a sandbox")]
    Name(#[from] IdError),
    /// The pipe for its output could not be made or read.
    #[error("the pipe for the workload's output")]
    Pipe(#[source] io::Error),
    /// The runtime could not do something.
    #[error("{step}")]
    Runtime {
        /// What was being done.
        step: &'static str,
        /// The runtime's own error.
        #[source]
        source: Box<RuntimeError>,
    },
    /// It was to go on from where a snapshot was made.
    #[error("it started in another way: no template was found to go on from")]
    Booted,
    /// Somebody else took the sandbox that was prepared for the sample.
    #[error("no prepared sandbox waits any more")]
    NoneWaits,
    /// It did not come as far as it should in time.
    #[error("no {awaited} within {timeout:?}")]
    TimedOut {
        /// What was waited for.
        awaited: &'static str,
        /// For how long.
        timeout: Duration,
    },
    /// The workload ended with a code that says it failed.
    #[error("the workload exited with code {code}{}", said(.output))]
    Failed {
        /// Its exit code.
        code: u8,
        /// Its output.
        output: String,
    },
    /// The workload wrote something it should not have.
    #[error("the workload wrote something unexpected{}", said(.output))]
    Output {
        /// What it wrote.
        output: String,
    },
    /// The memory of a process could not be read.
    #[error("reading memory use")]
    Memory(#[from] bulkhead_runtime::memory::MemoryError),
    /// A process that should start a sandbox could not be made.
    #[error("forking a process for each sandbox")]
    Fork(#[source] io::Error),
    /// One of several sandboxes started at once failed.
    #[error("one of {count} at once: {said}")]
    OneOfMany {
        /// How many were started.
        count: u32,
        /// What the process that started it said, causes included.
        said: String,
    },
    /// What attempts are to reach could not be set out.
    #[error("setting out what attempts are to reach")]
    Bait(#[source] io::Error),
    /// The operations took longer inside than the whole sandbox did outside.
    #[error(
        "the clock inside runs wrong: {inside_ms} ms of operations in a sandbox that \
         lived {outside_ms} ms"
    )]
    Clock {
        /// Sum of the operations by the clock inside.
        inside_ms: u64,
        /// Life of the workload by the host's clock.
        outside_ms: u64,
    },
}

fn said(output: &str) -> String {
    match output.lines().find(|line| !line.trim().is_empty()) {
        Some(line) => format!(": {}", line.trim().escape_debug()),
        None => String::new(),
    }
}

pub(crate) fn runtime_error(step: &'static str) -> impl FnOnce(RuntimeError) -> SampleError {
    move |error| match error {
        RuntimeError::Interrupted { .. } => SampleError::Interrupted,
        source => SampleError::Runtime { step, source: Box::new(source) },
    }
}

/// A runtime that takes part, with the image in the form it needs and a way of
/// starting.
#[derive(Clone, Copy)]
pub struct Contender<'a> {
    /// Its name in results.
    pub name: &'a str,
    /// The runtime.
    pub runtime: &'a dyn Runtime,
    /// The image with the probe, for this runtime.
    pub bundle: &'a Bundle,
    /// How its sandboxes are started.
    pub start: Start,
}

impl std::fmt::Debug for Contender<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Contender").field(&self.name()).finish()
    }
}

impl Contender<'_> {
    pub fn name(&self) -> &str {
        self.name
    }

    /// Refuses a start that was not of the kind it was to be: without a template a
    /// microVM boots, and would be measured as one that did not.
    pub fn check(&self, timeline: &Timeline) -> Result<(), SampleError> {
        let later_than = match self.start {
            Start::Warm => Clock::KernelDone,
            // Nothing is executed in it: the application is there.
            Start::App => Clock::WorkloadExec,
            Start::Cold | Start::Pool => return Ok(()),
        };
        match timeline.get(later_than) {
            Some(_) => Err(SampleError::Booted),
            None => Ok(()),
        }
    }

    /// The probe's verb that writes its greeting.
    pub fn greeting(&self) -> &'static str {
        match self.start {
            Start::App => WOKEN,
            Start::Cold | Start::Warm | Start::Pool => "hello",
        }
    }

    /// Prepares a sandbox that fits `bundle`, where its own come from a pool.
    pub fn prepare(&self, bundle: &Bundle) -> Result<Option<Waiting<'_>>, SampleError> {
        match self.start {
            Start::Pool => Waiting::prepare(self.runtime, bundle).map(Some),
            Start::Cold | Start::Warm | Start::App => Ok(None),
        }
    }

    /// The bundle with `arguments` as its command.
    pub fn bundle_running(&self, arguments: &[&str]) -> Bundle {
        let mut bundle = self.bundle.clone();
        if let Some(process) = bundle.spec.process_mut() {
            process.set_args(Some(arguments.iter().map(|&text| text.to_owned()).collect()));
            process.set_terminal(Some(false));
        }
        bundle
    }

    /// The same with another limit of memory, which is all the memory of a
    /// microVM.
    pub fn bundle_running_within(&self, arguments: &[&str], memory_bytes: u64) -> Bundle {
        let mut bundle = self.bundle_running(arguments);
        let linux = bundle.spec.linux_mut().as_mut();
        let memory = linux
            .and_then(|linux| linux.resources_mut().as_mut())
            .and_then(|resources| resources.memory_mut().as_mut());
        if let Some(memory) = memory {
            // The limit of memory and swap together may not be below that of memory.
            let limit = i64::try_from(memory_bytes).ok();
            memory.set_limit(limit);
            memory.set_swap(limit);
        }
        bundle
    }
}

fn create(
    runtime: &dyn Runtime,
    bundle: &Bundle,
    stdio: Stdio,
) -> Result<Box<dyn Sandbox>, SampleError> {
    let id = SandboxId::random()?;
    runtime
        .create(Create::attached(&id, bundle, stdio))
        .map_err(runtime_error("creating a sandbox"))
}

/// A started sandbox whose output is read.
pub struct Observed {
    sandbox: Box<dyn Sandbox>,
    output: Stream,
    /// Diagnostics, where they are not part of the output: read, so that the
    /// workload does not wait for somebody to do so, and forgotten.
    errors: Option<Stream>,
    /// When the harness saw it, which it can only after the start has returned; a
    /// runtime that saw it earlier itself has it in its own timeline.
    first_output: Option<Instant>,
    exit: Option<Exit>,
}

impl Observed {
    /// Creates a sandbox for `bundle` and starts it.
    ///
    /// The pipe and the name are made before the clock starts: they are the
    /// harness's, not the runtime's.
    pub fn start(
        runtime: &dyn Runtime,
        bundle: &Bundle,
        stop: Stop<'_>,
    ) -> Result<Self, SampleError> {
        let (output, writer) = Stream::keeping(MAX_OUTPUT).map_err(SampleError::Pipe)?;
        let stdio = Stdio::output_to(writer).map_err(SampleError::Pipe)?;
        Self::started(create(runtime, bundle, stdio)?, stop, output, None)
    }

    /// The same with standard output by itself, and its digest; of a sandbox from the
    /// pool, which `waiting` is in, where there is one.
    pub fn start_digesting(
        runtime: &dyn Runtime,
        waiting: Option<Waiting<'_>>,
        bundle: &Bundle,
        stop: Stop<'_>,
    ) -> Result<Self, SampleError> {
        let (output, stdout) = Stream::keeping(0).map_err(SampleError::Pipe)?;
        let (errors, stderr) = Stream::keeping(0).map_err(SampleError::Pipe)?;
        let stdio = Stdio { stdout, ..Stdio::output_to(stderr).map_err(SampleError::Pipe)? };
        let sandbox = match waiting {
            Some(waiting) => waiting.take(bundle, stdio)?,
            None => create(runtime, bundle, stdio)?,
        };
        Self::started(sandbox, stop, output.digested(), Some(errors))
    }

    /// As [`Self::start`], of a sandbox from the pool, which `waiting` is in.
    pub fn start_prepared(
        waiting: Waiting<'_>,
        bundle: &Bundle,
        stop: Stop<'_>,
    ) -> Result<Self, SampleError> {
        let (output, writer) = Stream::keeping(MAX_OUTPUT).map_err(SampleError::Pipe)?;
        let stdio = Stdio::output_to(writer).map_err(SampleError::Pipe)?;
        let sandbox = waiting.take(bundle, stdio)?;
        Self::started(sandbox, stop, output, None)
    }

    fn started(
        mut sandbox: Box<dyn Sandbox>,
        stop: Stop<'_>,
        output: Stream,
        errors: Option<Stream>,
    ) -> Result<Self, SampleError> {
        if let Err(error) = sandbox.start(stop.descriptor()) {
            // The start is what failed; dropping the sandbox releases the rest.
            return Err(runtime_error("starting the workload")(error));
        }
        Ok(Self { sandbox, output, errors, first_output: None, exit: None })
    }

    /// Starts the process of `bundle` beside the workload.
    pub fn exec(&mut self, bundle: &Bundle) -> Result<Self, SampleError> {
        const STEP: &str = "starting a further process";
        let (output, writer) = Stream::keeping(MAX_OUTPUT).map_err(SampleError::Pipe)?;
        let stdio = Stdio::output_to(writer).map_err(SampleError::Pipe)?;
        let process = bundle.process().map_err(|error| runtime_error(STEP)(error.into()))?;
        let sandbox = self.sandbox.exec(process, stdio).map_err(runtime_error(STEP))?;
        Ok(Self { sandbox, output, errors: None, first_output: None, exit: None })
    }

    /// Sends `signal` to the workload.
    pub fn signal(&mut self, signal: Signal) -> Result<(), SampleError> {
        self.sandbox.signal(signal).map_err(runtime_error("sending a signal"))
    }

    /// Waits until the workload has written `line` and nothing else.
    pub fn wait_for_line(
        &mut self,
        line: &str,
        timeout: Duration,
        stop: Stop<'_>,
    ) -> Result<(), SampleError> {
        self.pump(timeout, stop, "first line of output", |observed| {
            observed.exit.is_some() || observed.output.kept().contains(&b'\n')
        })?;
        match self.exit {
            Some(exit) => {
                Err(SampleError::Failed { code: exit.code(), output: self.take_output() })
            }
            None if self.output.kept() != line.as_bytes() => {
                Err(SampleError::Output { output: self.take_output() })
            }
            None => Ok(()),
        }
    }

    /// Waits until the workload has exited, with its output read to the end.
    pub fn wait_for_exit(
        &mut self,
        timeout: Duration,
        stop: Stop<'_>,
    ) -> Result<Exit, SampleError> {
        self.pump(timeout, stop, "end of the workload", |observed| observed.exit.is_some())?;
        self.read_output()?;
        self.exit.ok_or(SampleError::TimedOut { awaited: "end of the workload", timeout })
    }

    /// Waits until the workload has exited with code 0.
    pub fn wait_for_success(
        &mut self,
        timeout: Duration,
        stop: Stop<'_>,
    ) -> Result<(), SampleError> {
        match self.wait_for_exit(timeout, stop)?.code() {
            0 => Ok(()),
            code => Err(SampleError::Failed { code, output: self.take_output() }),
        }
    }

    /// Carries output and waits for the exit until `done`.
    fn pump(
        &mut self,
        timeout: Duration,
        stop: Stop<'_>,
        awaited: &'static str,
        done: impl Fn(&Self) -> bool,
    ) -> Result<(), SampleError> {
        let deadline = std::time::Instant::now() + timeout;
        while !done(self) {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return Err(SampleError::TimedOut { awaited, timeout });
            }
            let fds = [
                self.output.fd(),
                self.errors.as_ref().and_then(Stream::fd),
                Some(self.sandbox.event_fd()),
                stop.descriptor(),
            ];
            let [output, errors, event, _] =
                wait_readable(fds, Some(left)).map_err(SampleError::Pipe)?;
            if output || errors {
                if output {
                    self.first_output.get_or_insert_with(Instant::now);
                }
                self.read_output()?;
            }
            if event {
                self.exit = self
                    .sandbox
                    .wait(Some(Duration::ZERO))
                    .map_err(runtime_error("waiting for the workload"))?;
            }
            if stop.requested() {
                return Err(SampleError::Interrupted);
            }
        }
        Ok(())
    }

    /// Reads what is there without waiting.
    fn read_output(&mut self) -> Result<(), SampleError> {
        if self.output.read().map_err(SampleError::Pipe)? {
            // Output that arrived together with the exit.
            self.first_output.get_or_insert_with(Instant::now);
        }
        if let Some(errors) = &mut self.errors {
            errors.read().map_err(SampleError::Pipe)?;
        }
        Ok(())
    }

    /// What the workload has written so far.
    pub fn take_output(&mut self) -> String {
        self.output.take_text()
    }

    /// Standard output as a whole.
    pub fn output(&self) -> &Stream {
        &self.output
    }

    /// What the sandbox uses now, as far as the host accounts for it.
    pub fn usage(&self) -> Result<Usage, SampleError> {
        self.sandbox.usage().map_err(runtime_error("reading the sandbox's usage"))
    }

    /// What the sandbox uses now, with KVM's counters; empty where it cannot be read.
    pub fn kvm(&self) -> Usage {
        // A counter that cannot be read must not cost the sample it would explain.
        self.sandbox.usage().unwrap_or_default()
    }

    /// Its processes on the host.
    pub fn processes(&self) -> Result<Vec<HostProcess>, SampleError> {
        self.sandbox.processes().map_err(runtime_error("listing the sandbox's processes"))
    }

    /// The clocks until now, the harness's own included.
    pub fn timeline(&self) -> Timeline {
        let mut timeline = self.sandbox.timeline();
        if let Some(instant) = self.first_output {
            timeline.mark_at(Clock::FirstOutput, instant);
        }
        timeline
    }

    /// Releases everything and returns the clocks.
    pub fn release(mut self) -> Result<Timeline, SampleError> {
        self.sandbox.delete().map_err(runtime_error("releasing the sandbox"))?;
        let released = Instant::now();
        let mut timeline = self.timeline();
        timeline.mark_at(Clock::Released, released);
        Ok(timeline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NativeRuntime;
    use bulkhead_runtime::Rootfs;

    #[test]
    fn a_boot_is_not_a_warm_start() {
        let spec = oci_spec::runtime::Spec::default();
        let bundle = Bundle { spec, rootfs: Rootfs::Layers(Vec::new()) };
        let contender =
            |start| Contender { name: "one", runtime: &NativeRuntime, bundle: &bundle, start };
        let restored = Timeline::starting_at(Instant::from_nanos(1));
        let mut booted = restored;
        booted.mark(Clock::KernelDone);
        assert!(matches!(contender(Start::Warm).check(&booted), Err(SampleError::Booted)));
        assert!(contender(Start::Warm).check(&restored).is_ok());
        assert!(contender(Start::Cold).check(&booted).is_ok());
        let mut executed = restored;
        executed.mark(Clock::WorkloadExec);
        assert!(matches!(contender(Start::App).check(&executed), Err(SampleError::Booted)));
        assert!(contender(Start::App).check(&restored).is_ok());
    }
}
