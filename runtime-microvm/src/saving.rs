//! Making snapshots: of a machine that is booted for it, and of one that runs.

use std::fs::File;
use std::io::{PipeWriter, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bulkhead_runtime::{Bundle, Create, Error, Sandbox, SandboxId, StateDir, Stdio};

use crate::application::{self, Application, Readiness};
use crate::error::{MicroVmError, io_error, wall};
use crate::hosting;
use crate::monitor::channel::Channel;
use crate::monitor::control;
use crate::monitor::report::{NotSaved, Report, SavedFiles};
use crate::monitor::request::Request;
use crate::runtime::MicroVmRuntime;
use crate::session::convert::{self, ConvertError};
use crate::snapshot::{Draft, Manifest, Snapshot, SnapshotError, Snapshots};
use crate::template::{self, wanted};

const STEP: &str = "making a snapshot";

/// How long a machine that runs may take to come to rest, and how often it is looked
/// at.
const REST_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What [`MicroVmRuntime::save`] is asked for.
#[derive(Debug)]
pub struct Save<'a> {
    /// Names the sandbox for the time of the boot.
    pub id: &'a SandboxId,
    /// The machine's root filesystem and limits, and the application.
    pub bundle: &'a Bundle,
    /// When that is ready; `None` to save the machine as it waits for work.
    pub ready: Option<&'a Readiness>,
    /// Run a minimal init as the application's PID 1.
    pub init: bool,
    /// Where it is kept.
    pub into: &'a Snapshots,
    /// Under which name; without one, under that by which it is found as a template.
    pub name: Option<&'a str>,
    /// What it is of, for people.
    pub label: &'a str,
    /// Gives up when this becomes readable.
    pub interrupt: Option<BorrowedFd<'a>>,
}

impl MicroVmRuntime {
    /// Boots a machine once and keeps it as it waits for work, or as its application
    /// does. A template replaces the one that is there.
    ///
    /// # Errors
    ///
    /// As [`bulkhead_runtime::Runtime::create`] and [`Sandbox::start`], and when the
    /// application ends or does not get ready; nothing stays behind then.
    pub fn save(&self, request: &Save<'_>) -> Result<Snapshot, Error> {
        let cold = self.booting();
        let failed = || wall(STEP);
        let snapshot = |error: SnapshotError| failed()(MicroVmError::Snapshot(error));
        let config = cold.monitor_config(request.bundle, Path::new("")).map_err(failed())?;
        let start = convert::workload(request.bundle, request.init, true)
            .map_err(|error| failed()(error.into()))?;
        let application = request.ready.map(|ready| (&start, &ready.when));
        let name = match request.name {
            Some(name) => name.to_owned(),
            None => template::name(&wanted(&config), application).map_err(snapshot)?,
        };
        let draft = request.into.draft(&name).map_err(snapshot)?;
        let memory = draft.memory(u64::from(config.memory_mib) << 20).map_err(snapshot)?;
        let state = scratch().map_err(io_error("make a file")).map_err(failed())?;

        let prepared = request.ready.map(|_| application::with_hand_over(request.bundle));
        let bundle = prepared.as_ref().unwrap_or(request.bundle);
        // As long as the other end is open, the application's standard input has not ended.
        let (stdio, _input) = stdio(request.ready.is_some()).map_err(failed())?;
        let create =
            Create { init: request.init, ..Create::attached(request.id, bundle, stdio) };
        let build = |create: Create<'_>, dir| cold.build(create, dir);
        let mut machine = hosting::make(&cold.config().root, create, build)?;
        let saved = match request.ready {
            None => machine.save_waiting(&memory, &state, request.interrupt),
            Some(ready) => {
                let process = request
                    .bundle
                    .process()
                    .map_err(|e| failed()(ConvertError::from(e).into()))?;
                machine.save_ready(ready, process, [&memory, &state], request.interrupt)
            }
        };
        let gone = machine.delete();
        let saved = saved?;
        gone?;

        let application = request.ready.zip(request.bundle.spec.process().as_ref());
        let told = Told {
            label: request.label,
            application: application.map(|(ready, of)| Application::new(of, &ready.when)),
        };
        publish(draft, told, &saved, [memory, state], request.name.is_none())
    }

    /// Saves the machine of a sandbox that runs, whoever made it, and lets it go on. It
    /// is held as soon as its processor waits and nothing is on its way to the host.
    ///
    /// # Errors
    ///
    /// When it does not come to rest, and as [`MicroVmRuntime::save`].
    pub fn save_running(
        &self,
        id: &SandboxId,
        into: &Snapshots,
        name: &str,
    ) -> Result<Snapshot, Error> {
        let failed = || wall(STEP);
        let snapshot = |error: SnapshotError| failed()(MicroVmError::Snapshot(error));
        let dir = StateDir::open(&self.config().root, id)?;
        let monitor = control::call(dir.path())
            .map_err(io_error("reach the monitor"))
            .map_err(failed())?;
        let draft = into.draft(name).map_err(snapshot)?;
        // How long it has to be, the monitor says in the end.
        let memory = draft.memory(0).map_err(snapshot)?;
        let state = scratch().map_err(io_error("make a file")).map_err(failed())?;
        let saved = until_at_rest(|| ask(&monitor, &memory, &state)).map_err(failed())?;
        let told = Told { label: &id.to_string(), application: None };
        publish(draft, told, &saved, [memory, state], false)
    }
}

/// Asks the monitor of a machine that another process holds.
fn ask(
    monitor: &Channel,
    memory: &File,
    state: &File,
) -> Result<Option<SavedFiles>, MicroVmError> {
    monitor
        .send(&Request::Save, &[memory.as_fd(), state.as_fd()])
        .map_err(io_error("ask the monitor"))?;
    match monitor.receive::<Report>(true).map_err(io_error("understand the monitor"))? {
        Some((Report::Saved(outcome), _)) => saved(outcome),
        _ => {
            let gone = std::io::ErrorKind::ConnectionReset.into();
            Err(MicroVmError::Io { action: "hear the monitor", source: gone })
        }
    }
}

/// What a monitor was asked for; `None` when the processor has something to do just
/// now.
pub(crate) fn saved(
    outcome: Result<SavedFiles, NotSaved>,
) -> Result<Option<SavedFiles>, MicroVmError> {
    match outcome {
        Ok(files) => Ok(Some(files)),
        Err(NotSaved::Busy) => Ok(None),
        Err(NotSaved::Failed(failure)) => Err(MicroVmError::NotSaved(failure)),
    }
}

/// Has `attempt` save a machine, again and again until it rests.
pub(crate) fn until_at_rest(
    mut attempt: impl FnMut() -> Result<Option<SavedFiles>, MicroVmError>,
) -> Result<SavedFiles, MicroVmError> {
    let deadline = Instant::now() + REST_WITHIN;
    loop {
        if let Some(files) = attempt()? {
            return Ok(files);
        }
        if Instant::now() > deadline {
            return Err(MicroVmError::NeverIdle { seconds: REST_WITHIN.as_secs() });
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The streams of a machine that is to be saved. With an application in it: an input
/// that has not ended as long as its other end is open, and what it says goes to our
/// standard error.
fn stdio(application: bool) -> Result<(Stdio, Option<PipeWriter>), MicroVmError> {
    let make = || -> std::io::Result<_> {
        if !application {
            return Ok((Stdio::null()?, None));
        }
        let (stdin, input) = std::io::pipe()?;
        let stderr = std::io::stderr().as_fd().try_clone_to_owned()?;
        Ok((Stdio { stdin: stdin.into(), stdout: stderr.try_clone()?, stderr }, Some(input)))
    };
    make().map_err(io_error("make the streams of the application"))
}

/// What a person is told of a snapshot.
struct Told<'a> {
    label: &'a str,
    application: Option<Application>,
}

/// Makes a snapshot of a draft, whose memory and state are in these files.
fn publish(
    draft: Draft,
    told: Told<'_>,
    saved: &SavedFiles,
    [memory, mut state]: [File; 2],
    replace: bool,
) -> Result<Snapshot, Error> {
    let failed = || wall(STEP);
    let snapshot = |error: SnapshotError| failed()(MicroVmError::Snapshot(error));
    memory
        .set_len(u64::from(saved.machine.memory_mib) << 20)
        .map_err(io_error("make room for the memory"))
        .map_err(failed())?;
    let manifest = Manifest {
        label: told.label.to_owned(),
        created_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs()),
        fingerprint: wanted(&saved.machine).fingerprint().map_err(snapshot)?,
        memory: draft.known_memory(&memory).map_err(snapshot)?,
        pages: saved.pages,
        running: saved.running,
        application: told.application,
        machine: all_of(&mut state).map_err(io_error("read a file")).map_err(failed())?,
    };
    draft.publish(&manifest, replace).map_err(snapshot)
}

/// A file without a name.
fn scratch() -> std::io::Result<File> {
    nix::sys::memfd::memfd_create(c"machine", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)
        .map(File::from)
        .map_err(Into::into)
}

fn all_of(file: &mut File) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}
