//! What a build needs of the rest of the program: images, and sandboxes to run commands
//! in.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bulkhead_image::build::{Cause, Changes, Event, Host, Ran, Run};
use bulkhead_image::spec::{self, RunOptions};
use bulkhead_image::{DiskLayout, Image, make_disk};
use bulkhead_runtime::{
    Bundle, Create, Isolation, Rootfs, Sandbox, SandboxId, Signal, Stdio, UPPER, UPPER_ARCHIVE,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::args::{BuildArgs, PrivilegeArgs};
use crate::context::{Context, Guest};
use crate::failure::Failure;
use crate::signals::Signals;
use crate::{payload, privileges, pulling};

/// The program, for a build.
pub struct Builder<'a> {
    context: &'a Context,
    args: &'a BuildArgs,
    signals: RefCell<Signals>,
    interrupted: Cell<bool>,
    /// What was said while nothing was to be.
    kept: RefCell<Vec<String>>,
    cached: Cell<usize>,
}

/// What went wrong elsewhere in the program.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Told(String);

#[expect(clippy::needless_pass_by_value, reason = "an argument of `map_err`")]
fn told(failure: Failure) -> Cause {
    Box::new(Told(failure.to_string()))
}

impl<'a> Builder<'a> {
    pub fn new(context: &'a Context, args: &'a BuildArgs) -> Result<Self, Failure> {
        Ok(Self {
            context,
            args,
            signals: RefCell::new(Signals::ending()?),
            interrupted: Cell::new(false),
            kept: RefCell::default(),
            cached: Cell::new(0),
        })
    }

    /// Says what was kept to itself, now that it is needed.
    pub fn explain(&self, failure: Failure) -> Failure {
        for line in self.kept.take() {
            eprintln!("{line}");
        }
        failure
    }

    fn line(&self, line: String) {
        if self.args.quiet {
            self.kept.borrow_mut().push(line);
        } else {
            eprintln!("{line}");
        }
    }

    fn bundle(&self, run: &Run<'_>) -> Result<Bundle, Failure> {
        let options = RunOptions {
            args: run.args.clone(),
            entrypoint: Some(Vec::new()),
            env: run.env.clone(),
            ..self.args.limits.options()
        };
        let mut spec = spec::runtime_spec(&run.config, &run.accounts, &options)?;
        let isolation = self.args.isolation;
        privileges::apply(&PrivilegeArgs::default(), isolation, &mut spec)?;
        let rootfs = match isolation {
            Isolation::MicroVm => {
                let path = run.scratch.join("disk.erofs");
                make_disk(&path, run.layers, payload::INIT, DiskLayout::default())?
            }
            Isolation::Container | Isolation::Native => Rootfs::Layers(run.layers.to_vec()),
        };
        Ok(Bundle { spec, rootfs })
    }

    fn run_command(&self, run: &Run<'_>) -> Result<Ran, Failure> {
        let mut bundle = self.bundle(run)?;
        let isolation = self.args.isolation;
        let runtime = self.context.runtime(isolation, Guest::default())?;
        let id = SandboxId::random()?;
        bundle.spec.set_hostname(Some(id.to_string()));
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        let stdio = Stdio {
            stdin: File::open("/dev/null")?.into(),
            stdout: write.try_clone()?,
            stderr: write,
        };
        let output = Output::follow(read, run.number, self.args.quiet);
        let request =
            Create { changes: Some(&run.scratch), ..Create::attached(&id, &bundle, stdio) };
        let ended = runtime.create(request).map_err(Failure::from).and_then(|mut sandbox| {
            let outcome = self.supervise(&mut *sandbox);
            let released = sandbox.delete();
            let code = outcome?;
            released?;
            Ok(code)
        });
        // The pipe has no writer any more.
        self.kept.borrow_mut().extend(output.end());
        let changes = match isolation {
            Isolation::MicroVm => Changes::Archive(run.scratch.join(UPPER_ARCHIVE)),
            _ => Changes::Directory(run.scratch.join(UPPER)),
        };
        Ok(Ran { code: ended?, changes })
    }

    fn supervise(&self, sandbox: &mut dyn Sandbox) -> Result<u8, Failure> {
        sandbox.start(Some(self.signals.borrow().as_fd()))?;
        loop {
            if let Some(exit) = sandbox.wait(Some(Duration::ZERO))? {
                return Ok(exit.code());
            }
            let signals = self.signals.borrow();
            let mut events = [
                PollFd::new(sandbox.event_fd(), PollFlags::POLLIN),
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut events, PollTimeout::NONE) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            drop(signals);
            if self.is_interrupted() {
                match sandbox.signal(Signal::KILL) {
                    Err(bulkhead_runtime::Error::NotRunning { .. }) => {}
                    other => other?,
                }
            }
        }
    }
}

impl Host for Builder<'_> {
    fn image(&self, name: &str) -> Result<Image, Cause> {
        pulling::image(self.context, name, self.args.pull).map_err(told)
    }

    fn run(&self, run: &Run<'_>) -> Result<Ran, Cause> {
        self.run_command(run).map_err(told)
    }

    fn is_interrupted(&self) -> bool {
        // Once one has come, that is it.
        if let Ok(Some(_)) = self.signals.borrow_mut().next() {
            self.interrupted.set(true);
        }
        self.interrupted.get()
    }

    fn say(&self, event: Event<'_>) {
        match event {
            Event::Step { number, text } => {
                self.line(format!("#{number} {text}"));
            }
            Event::Cached { number } => {
                self.cached.set(number);
                self.line(format!("#{number} CACHED"));
            }
            Event::Done { number, .. } if self.cached.get() == number => {}
            Event::Done { number, took } => {
                self.line(format!("#{number} DONE {:.1}s", took.as_secs_f64()));
            }
        }
    }
}

/// What a command prints, told line by line.
struct Output(JoinHandle<Vec<String>>);

impl Output {
    fn follow(pipe: OwnedFd, number: usize, quiet: bool) -> Self {
        let begun = Instant::now();
        Self(std::thread::spawn(move || {
            let mut kept = Vec::new();
            let mut lines = BufReader::new(File::from(pipe));
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
                let text = String::from_utf8_lossy(&line);
                let text = text.trim_end_matches(['\n', '\r']);
                let told = format!("#{number} {:.3} {text}", begun.elapsed().as_secs_f64());
                if quiet {
                    kept.push(told);
                } else {
                    eprintln!("{told}");
                }
                line.clear();
            }
            kept
        }))
    }

    fn end(self) -> Vec<String> {
        self.0.join().unwrap_or_default()
    }
}
