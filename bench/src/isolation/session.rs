//! A sandbox in which the probe makes attempts as it is told to.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant as Deadline};

use bulkhead_probe::report::Report;
use bulkhead_runtime::{
    Bundle, Create, Exit, HostProcess, Instant, Lifetime, Sandbox, SandboxId, Stdio,
};

use crate::poll::wait_readable;
use crate::sandbox::{Contender, SampleError, runtime_error};
use crate::stop::Stop;

/// What the probe writes when it listens.
const GREETING: &str = "ready";

/// Output kept while waiting for the end of a line, bytes.
const MAX_OUTPUT: usize = 1 << 20;

/// A probe that takes orders.
pub struct Session<'a> {
    sandbox: Box<dyn Sandbox>,
    orders: PipeWriter,
    /// `None` once it is at its end.
    reader: Option<PipeReader>,
    output: Vec<u8>,
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
        let (reader, writer) = io::pipe().map_err(SampleError::Pipe)?;
        let (input, orders) = io::pipe().map_err(SampleError::Pipe)?;
        rustix::io::ioctl_fionbio(&reader, true)
            .map_err(|errno| SampleError::Pipe(errno.into()))?;
        let mut stdio = Stdio::output_to(writer.into()).map_err(SampleError::Pipe)?;
        stdio.stdin = input.into();
        let request = Create {
            id: &id,
            bundle,
            stdio,
            lifetime: Lifetime::Attached,
            init: false,
            requested: Instant::now(),
        };
        let mut sandbox =
            contender.runtime.create(request).map_err(runtime_error("creating a sandbox"))?;
        sandbox.start(stop.descriptor()).map_err(runtime_error("starting the workload"))?;
        let (reader, output) = (Some(reader), Vec::new());
        let mut session = Self { sandbox, orders, reader, output, exit: None, stop };
        match session.line(timeout)? {
            line if line == GREETING => Ok(session),
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
            if let Some(end) = self.output.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.output.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if let Some(exit) = self.exit {
                let output = String::from_utf8_lossy(&self.output).into_owned();
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
        let fds = [
            self.reader.as_ref().map(AsFd::as_fd),
            Some(self.sandbox.event_fd()),
            self.stop.descriptor(),
        ];
        let [output, event, _] = wait_readable(fds, Some(left)).map_err(SampleError::Pipe)?;
        if event {
            self.exit = self
                .sandbox
                .wait(Some(Duration::ZERO))
                .map_err(runtime_error("waiting for the workload"))?;
        }
        if output || self.exit.is_some() {
            self.read()?;
        }
        Ok(())
    }

    /// Reads what is there without waiting.
    fn read(&mut self) -> Result<(), SampleError> {
        let mut buffer = [0; 4096];
        while let Some(reader) = &mut self.reader {
            match reader.read(&mut buffer) {
                Ok(0) => self.reader = None,
                Ok(count) if self.output.len() < MAX_OUTPUT => {
                    self.output.extend_from_slice(&buffer[..count]);
                }
                Ok(_) => return Err(SampleError::Output { output: String::new() }),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(SampleError::Pipe(error)),
            }
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
