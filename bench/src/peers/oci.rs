//! [`OciRuntime`]: any program with the command line of an OCI runtime.

use std::fs;
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bulkhead_runtime::{
    Availability, Bundle, Capabilities, Clock, Create, Error, Isolation, Lifetime, Missing,
    Record, Runtime, Sandbox, SandboxId, StateDir, StateError, Status, Timeline,
};
use oci_spec::runtime::LinuxBuilder;

use super::call::{Done, Given, Program, last_message};
use super::cgroup::{self, Cgroup};
use super::error::PeerError;
use super::processes::{self, Subreaper};
use super::rootfs::{Base, Mounts};
use super::sandbox::{OciSandbox, Parts};
use super::{ISOLATION, wall};

/// The version of the runtime-spec that peers are told the bundle follows. Nothing
/// in our bundles is newer, and crun before 1.9 refuses every other.
const RUNTIME_SPEC: &str = "1.0.2";

/// How long a call of a peer may take before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long it may take to say its version.
const VERSION_PATIENCE: Duration = Duration::from_secs(5);

/// Runs bundles by somebody else's OCI runtime.
#[derive(Debug)]
pub struct OciRuntime {
    name: String,
    root: PathBuf,
    /// The program and its version, or why there is none to use.
    found: Result<(Program, String), Missing>,
}

impl OciRuntime {
    /// The runtime called `name` on PATH, with the state of its sandboxes under
    /// `root`. When there is none, or it does not work, [`Runtime::availability`]
    /// says why.
    #[must_use]
    pub fn on_path(name: &str, root: &Path) -> Self {
        let found = search(name).ok_or_else(|| Missing {
            what: PeerError::NotFound(name.to_owned()).to_string(),
            remedy: format!("install {name}, or name its file with --oci-runtime"),
        });
        Self::new(name, found.and_then(|path| probe(&path, Vec::new())), root)
    }

    /// The runtime in the file `path`, called with `options` before each verb.
    #[must_use]
    pub fn at(name: &str, path: &Path, options: Vec<String>, root: &Path) -> Self {
        Self::new(name, probe(path, options), root)
    }

    fn new(name: &str, found: Result<(Program, String), Missing>, root: &Path) -> Self {
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        Self { name: name.to_owned(), root, found }
    }

    /// Sets how long a call may take before it counts as hung.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        if let Ok((program, _)) = &mut self.found {
            program.patience = patience;
        }
        self
    }

    /// What it says its version is, and how it is run here.
    #[must_use]
    pub fn version(&self) -> String {
        match &self.found {
            Ok((program, version)) if program.base.hides_unified => {
                format!(
                    "{version}, in a mount namespace without the empty cgroup2 hierarchy of \
                     this hybrid host"
                )
            }
            Ok((_, version)) => version.clone(),
            Err(_) => "unknown".to_owned(),
        }
    }

    fn program(&self) -> Result<&Program, Error> {
        self.found.as_ref().map(|(program, _)| program).map_err(|missing| Error::Unavailable {
            isolation: ISOLATION,
            missing: vec![missing.clone()],
        })
    }

    fn build(&self, request: Create<'_>, dir: StateDir) -> Result<OciSandbox, Error> {
        let Create { id, bundle, stdio, lifetime, requested, .. } = request;
        let program = self.program()?;
        bundle.process()?;
        let mut timeline = Timeline::starting_at(requested);
        let rootfs = dir.path().join("rootfs");
        let step = "preparing the bundle";
        fs::create_dir(&rootfs)
            .map_err(PeerError::io("create", &rootfs))
            .map_err(wall(step))?;
        write_config(bundle, id, dir.path(), &rootfs).map_err(wall(step))?;
        let mounts = Mounts::overlay(&program.base, bundle.layers()?, &rootfs);
        let mounts = mounts.map_err(wall(step))?;

        let step = "creating the container";
        let pid_file = dir.path().join("pid");
        let arguments = [
            "create",
            "--bundle",
            &dir.path().to_string_lossy(),
            "--pid-file",
            &pid_file.to_string_lossy(),
            id.as_str(),
        ];
        let given = Given { stdio: Some(&stdio), mounts: Some(mounts), ..Given::default() };
        let reaper = Subreaper::become_one()
            .map_err(PeerError::io("become a subreaper for", dir.path()))
            .map_err(wall(step))?;
        let done = program.call(id, dir.path(), &arguments, given).map_err(wall(step))?;
        drop(reaper);
        if let Done::Finished(seen) = done
            && let Some(mounted) = seen.mounted
        {
            timeline.mark_at(Clock::RootfsReady, mounted);
        }
        timeline.mark(Clock::SandboxCreated);
        let pid = read_pid(&pid_file, &self.name).map_err(wall(step))?;
        let mut record = Record::creating(id, ISOLATION, lifetime);
        record.pid = Some(pid);
        record.status = Status::Created;
        dir.write(&record)?;
        OciSandbox::new(Parts {
            id: id.clone(),
            program: program.clone(),
            dir,
            pid,
            stdio,
            timeline,
        })
        .map_err(wall(step))
    }
}

/// The file called `name` in one of PATH's directories.
fn search(name: &str) -> Option<PathBuf> {
    if name.is_empty() || name.contains('/') {
        return None;
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file)
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Asks a program for its version, to see that it runs at all.
fn probe(path: &Path, options: Vec<String>) -> Result<(Program, String), Missing> {
    let missing = |error: &dyn std::error::Error| Missing {
        what: crate::chain(error),
        remedy: "name a program with the command line of an OCI runtime".to_owned(),
    };
    if !nix::unistd::geteuid().is_root() {
        return Err(Missing {
            what: "root, for overlay mounts and cgroups".to_owned(),
            remedy: "run as root".to_owned(),
        });
    }
    let path = std::path::absolute(path).map_err(|error| missing(&error))?;
    let base = Base::prepare().map_err(|error| missing(&error))?;
    let program = Program { path, options, base, patience: VERSION_PATIENCE };
    let version = ask_version(&program).map_err(|error| missing(&error))?;
    Ok((Program { patience: PATIENCE, ..program }, version))
}

fn ask_version(program: &Program) -> Result<String, PeerError> {
    let (id, dir) = scratch()?;
    let result = program.call(&id, &dir, &["--version"], Given::default());
    let text = fs::read(dir.join("--version.log")).unwrap_or_default();
    // Nothing is in it but the log just read.
    let _ = fs::remove_dir_all(&dir);
    result?;
    let text = String::from_utf8_lossy(&text);
    // The first line; the others tell of its libraries.
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let version = last_message(first);
    Ok(if version.is_empty() { "says no version".to_owned() } else { version })
}

/// A directory for a call that is about no sandbox.
fn scratch() -> Result<(SandboxId, PathBuf), PeerError> {
    let temporary = std::env::temp_dir();
    let id = SandboxId::random().map_err(|_| {
        let none = std::io::Error::from(std::io::ErrorKind::Other);
        PeerError::io("name a directory in", &temporary)(none)
    })?;
    let dir = temporary.join(format!("bulkhead-peer-{id}"));
    fs::create_dir(&dir).map_err(PeerError::io("create", &dir))?;
    Ok((id, dir))
}

/// Writes the configuration every runtime gets, with the two places that are
/// this sandbox's own: its root filesystem and its cgroup.
fn write_config(
    bundle: &Bundle,
    id: &SandboxId,
    dir: &Path,
    rootfs: &Path,
) -> Result<(), PeerError> {
    let mut spec = bundle.spec.clone();
    spec.set_version(RUNTIME_SPEC.to_owned());
    if let Some(root) = spec.root_mut() {
        root.set_path(rootfs.to_owned());
    }
    let config =
        |source: oci_spec::OciSpecError| PeerError::Config(std::io::Error::other(source));
    let mut linux = match spec.linux().clone() {
        Some(linux) => linux,
        None => LinuxBuilder::default().build().map_err(config)?,
    };
    linux.set_cgroups_path(Some(cgroup::path(id).into()));
    spec.set_linux(Some(linux));
    let path = dir.join("config.json");
    let file = fs::File::create(&path).map_err(PeerError::io("create", &path))?;
    let mut writer = BufWriter::new(file);
    serde_json::to_writer(&mut writer, &spec)
        .map_err(|error| PeerError::Config(error.into()))?;
    writer.flush().map_err(PeerError::io("write", &path))
}

fn read_pid(path: &Path, name: &str) -> Result<i32, PeerError> {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.trim().parse().ok().filter(|&pid: &i32| pid > 1).ok_or_else(|| PeerError::NoProcess {
        command: format!("{name} create"),
        found: last_message(&text),
    })
}

/// Removes what a sandbox of a peer may have left, without the peer.
pub fn clear_away(id: &SandboxId, dir: &StateDir) -> Result<(), Error> {
    processes::kill_marked(id);
    Cgroup::of(id).remove().map_err(wall("removing a container"))?;
    Ok(dir.remove()?)
}

impl Runtime for OciRuntime {
    fn name(&self) -> &str {
        &self.name
    }

    fn isolation(&self) -> Isolation {
        ISOLATION
    }

    fn availability(&self) -> Availability {
        match &self.found {
            Ok(_) => Availability::Ready,
            Err(missing) => Availability::Unavailable(vec![missing.clone()]),
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            exec: true,
            limits: true,
            private_network: true,
            private_kernel: false,
            detached: false,
            prepare: false,
        }
    }

    fn create(&self, request: Create<'_>) -> Result<Box<dyn Sandbox>, Error> {
        request.refuse_changes(ISOLATION)?;
        let unsupported = |what| Error::Unsupported { isolation: ISOLATION, what };
        if request.lifetime == Lifetime::Detached {
            return Err(unsupported("outliving the creator"));
        }
        if request.init {
            return Err(unsupported("an init process"));
        }
        let id = request.id.clone();
        let record = Record::creating(&id, ISOLATION, request.lifetime);
        let dir = StateDir::create(&self.root, &record)?;
        match self.build(request, dir) {
            Ok(sandbox) => Ok(Box::new(sandbox)),
            Err(error) => {
                // The error at hand says more than one of clearing away would.
                if let Ok(dir) = StateDir::open(&self.root, &id) {
                    let _ = clear_away(&id, &dir);
                }
                Err(error)
            }
        }
    }

    fn load(&self, id: &SandboxId) -> Result<Box<dyn Sandbox>, Error> {
        // Its sandboxes end with the process that made them.
        Err(StateError::NotFound(id.clone()).into())
    }

    fn purge(&self, id: &SandboxId) -> Result<(), Error> {
        match StateDir::open(&self.root, id) {
            Ok(dir) => clear_away(id, &dir),
            Err(StateError::NotFound(_)) => {
                processes::kill_marked(id);
                Cgroup::of(id).remove().map_err(wall("removing a container"))
            }
            Err(error) => Err(error.into()),
        }
    }
}
