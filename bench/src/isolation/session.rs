//! A sandbox in which the probe makes attempts as it is told to.

use std::io::{self, PipeWriter, Write};
use std::time::{Duration, Instant as Deadline};

use bulkhead_probe::line::READY;
use bulkhead_probe::report::Report;
use bulkhead_runtime::{Bundle, Create, Exit, HostProcess, Sandbox, SandboxId, Stdio};

use crate::poll::wait_readable;
use crate::sandbox::{Contender, SampleError, runtime_error};
use crate::stop::Stop;
use crate::stream::Stream;

/// Output kept while waiting for the end of a line, bytes.
const MAX_OUTPUT: usize = 1 << 20;

/// A probe that takes orders.
pub struct Session<'a> {
    sandbox: Box<dyn Sandbox>,
    orders: PipeWriter,
    output: Stream,
    exit: Option<Exit>,
    stop: Stop<'a>,
}

impl<'a> Session<'a> {
    /// Starts `program` in a sandbox and waits until it listens.
    pub fn start(
        contender: Contender<'_>,
        bundle: &Bundle,
        timeout: Duration,
        stop: Stop<'a>,
    ) -> Result<Self, SampleError> {
        let id = SandboxId::random()?;
        let (output, writer) = Stream::keeping(MAX_OUTPUT).map_err(SampleError::Pipe)?;
        let (input, orders) = io::pipe().map_err(SampleError::Pipe)?;
        let mut stdio = Stdio::output_to(writer).map_err(SampleError::Pipe)?;
        stdio.stdin = input.into();
        let mut sandbox = contender
            .runtime
            .create(Create::attached(&id, bundle, stdio))
            .map_err(runtime_error("creating a sandbox"))?;
        sandbox.start(stop.descriptor()).map_err(runtime_error("starting the workload"))?;
        let mut session = Self { sandbox, orders, output, exit: None, stop };
        match session.line(timeout)? {
            line if line == READY.trim_end() => Ok(session),
            output => Err(SampleError::Output { output }),
        }
    }

    /// Has an attempt made and returns what the probe says of it. What the attempt
    /// got hold of stays until [`Session::let_go`].
    pub fn order(
        &mut self,
        words: &[String],
        timeout: Duration,
    ) -> Result<Report, SampleError> {
        let order = words.join("\t") + "\n";
        self.orders.write_all(order.as_bytes()).map_err(SampleError::Pipe)?;
        let line = self.line(timeout)?;
        line.parse().map_err(|_| SampleError::Output { output: line })
    }

    /// Ends the attempt.
    pub fn let_go(&mut self) -> Result<(), SampleError> {
        self.orders.write_all(b"\n").map_err(SampleError::Pipe)
    }

    /// How the sandbox ended, if it has.
    pub fn exit(&self) -> Option<Exit> {
        self.exit
    }

    /// The next line the probe writes.
    fn line(&mut self, timeout: Duration) -> Result<String, SampleError> {
        let deadline = Deadline::now() + timeout;
        loop {
            if let Some(line) = self.output.take_line() {
                return Ok(line);
            }
            if let Some(exit) = self.exit {
                let output = self.output.take_text();
                return Err(SampleError::Failed { code: exit.code(), output });
            }
            if self.stop.requested() {
                return Err(SampleError::Interrupted);
            }
            let left = deadline.saturating_duration_since(Deadline::now());
            if left.is_zero() {
                return Err(SampleError::TimedOut { awaited: "answer of the probe", timeout });
            }
            self.pump(left)?;
        }
    }

    /// Waits for something to happen and carries it.
    fn pump(&mut self, left: Duration) -> Result<(), SampleError> {
        let fds = [self.output.fd(), Some(self.sandbox.event_fd()), self.stop.descriptor()];
        let [output, event, _] = wait_readable(fds, Some(left)).map_err(SampleError::Pipe)?;
        if event {
            self.exit = self
                .sandbox
                .wait(Some(Duration::ZERO))
                .map_err(runtime_error("waiting for the workload"))?;
        }
        if output || self.exit.is_some() {
            self.output.read().map_err(SampleError::Pipe)?;
        }
        if self.output.is_full() {
            return Err(SampleError::Output { output: String::new() });
        }
        Ok(())
    }

    /// Its processes on the host, as the runtime knows them.
    pub fn processes(&self) -> Result<Vec<HostProcess>, SampleError> {
        self.sandbox.processes().map_err(runtime_error("listing the sandbox's processes"))
    }

    /// Releases everything.
    pub fn release(mut self) -> Result<(), SampleError> {
        self.sandbox.delete().map_err(runtime_error("releasing the sandbox"))
    }
}
