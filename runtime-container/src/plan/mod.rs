//! From a runtime spec to the steps of the child.
//!
//! Pure but for looking at mount sources and layer directories on the host:
//! given the same bundle it gives the same [`Plan`]. Whatever the spec asks for
//! and this wall does not do is refused here, before anything exists.

mod devices;
mod mounts;
mod namespaces;
mod options;
mod process;
mod refuse;
mod rootfs;
mod sequence;

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;

use bulkhead_runtime::{Bundle, BundleError, Create, Lifetime, PlacedFile};
use oci_spec::runtime::{LinuxIdMapping, Process, Spec};

use crate::child::Command;
use crate::seccomp::{self, SeccompError};
use crate::step::{self, Target};

pub(crate) use namespaces::Namespaces;
pub use process::number as capability_number;
pub(crate) use rootfs::make_kept;
pub(crate) use sequence::Part;
use sequence::Sequence;

/// Those of a plan own what they are about.
pub(crate) type Step = step::Step<'static>;

/// A spec this wall cannot carry out.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The bundle itself is not usable.
    #[error("the bundle")]
    Bundle(#[source] BundleError),
    /// It asks for something the wall does not do. Ignoring it would leave the
    /// workload with more, or less, than its author believes.
    #[error("config.json: `{0}` is not supported by the container runtime")]
    Unsupported(String),
    /// A value makes no sense.
    #[error("config.json: `{field}`: {problem}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
    /// A file or directory of the host that the spec names cannot be used.
    #[error("config.json names {path} of the host")]
    HostPath {
        /// The path.
        path: String,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// What it asks for cannot be made before the request for it.
    #[error("config.json: {0} is not possible in a container prepared ahead")]
    Ahead(&'static str),
    /// The seccomp profile cannot be compiled.
    #[error("the seccomp profile")]
    Seccomp(#[source] SeccompError),
}

impl SpecError {
    fn invalid(field: &'static str, problem: impl Into<String>) -> Self {
        Self::Invalid { field, problem: problem.into() }
    }
}

/// Everything that is needed to make the container, or a part of it, apart from
/// cgroups.
#[derive(Debug)]
pub(crate) struct Plan {
    pub namespaces: Namespaces,
    pub mappings: Mappings,
    pub setup: Vec<Step>,
    pub launch: Vec<Step>,
    /// What is executed.
    pub command: Command,
    /// Whether that has a terminal.
    pub terminal: bool,
    /// What the steps refer to by number.
    #[expect(dead_code, reason = "keeps the descriptors in the steps open")]
    pub held: Vec<OwnedFd>,
}

/// The user namespace's mappings; empty without one.
#[derive(Debug, Default, Clone)]
pub(crate) struct Mappings {
    pub uids: Vec<LinuxIdMapping>,
    pub gids: Vec<LinuxIdMapping>,
}

impl Mappings {
    /// Whether group `id` of the container is one of the host.
    fn maps_group(&self, id: u32) -> bool {
        self.gids.iter().any(|mapping| {
            id.checked_sub(mapping.container_id()).is_some_and(|offset| offset < mapping.size())
        })
    }
}

/// What a plan depends on besides the bundle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting<'a> {
    /// A directory of the host that the child may mount over, in its own
    /// mount namespace: the sandbox's state directory.
    pub scratch: &'a Path,
    /// Whether the caller is root.
    pub privileged: bool,
    /// The container dies with its creator.
    pub attached: bool,
    /// PID 1 is our init.
    pub init: bool,
    /// Files laid over the image's.
    pub files: &'a [PlacedFile],
    /// The process is the container's first.
    pub is_first: bool,
    /// A directory with the directories that the writable layer is kept in.
    pub changes: Option<&'a Path>,
}

impl<'a> Setting<'a> {
    /// Where the container that `request` asks for is made.
    pub(crate) fn of(scratch: &'a Path, request: &Create<'a>) -> Self {
        Self {
            scratch,
            privileged: rustix::process::geteuid().is_root(),
            attached: request.lifetime == Lifetime::Attached,
            init: request.init,
            files: request.files,
            is_first: true,
            changes: request.changes,
        }
    }
}

impl Plan {
    /// Plans the container for `bundle`.
    pub(crate) fn new(bundle: &Bundle, setting: Setting<'_>) -> Result<Self, SpecError> {
        Self::part(bundle, setting, Part::Whole)
    }

    /// Plans a part of the container for `bundle`.
    pub(crate) fn part(
        bundle: &Bundle,
        setting: Setting<'_>,
        part: Part,
    ) -> Result<Self, SpecError> {
        let spec = &bundle.spec;
        let process = bundle.process().map_err(SpecError::Bundle)?;
        let linux = bundle.linux().map_err(SpecError::Bundle)?;
        refuse::unsupported(spec)?;

        let (namespaces, held) = Namespaces::from_spec(linux, setting.privileged)?;
        if part != Part::Whole {
            refuse::ahead(spec, &namespaces)?;
        }
        let mappings = namespaces::mappings(linux, &namespaces)?;
        let mut setup = setup(bundle, setting, &namespaces, &mappings)?.part(part);
        if part == Part::Ahead {
            // With its keeper, from the beginning.
            setup.insert(0, Step::DieWithParent);
        }
        let launch = match part {
            Part::Ahead => Vec::new(),
            Part::Whole | Part::Rest => {
                process::launch(process, linux.seccomp().as_ref(), setting)?
            }
        };
        let command = process::command(process)?;
        let terminal = process.terminal().unwrap_or(false);
        Ok(Self { namespaces, mappings, setup, launch, command, terminal, held })
    }
}

/// The child's steps up to the point where it waits for its start.
fn setup(
    bundle: &Bundle,
    setting: Setting<'_>,
    namespaces: &Namespaces,
    mappings: &Mappings,
) -> Result<Sequence, SpecError> {
    let spec = &bundle.spec;
    let process = bundle.process().map_err(SpecError::Bundle)?;
    let linux = bundle.linux().map_err(SpecError::Bundle)?;
    let mut setup = Sequence::default();
    setup.ahead(namespaces.first_steps());
    setup.at_once(process::oom_score(process));
    let tree = mounts::Tree::from_spec(spec, namespaces, mappings)?;
    setup.ahead([mounts::propagation(linux)?]);
    setup.ahead(tree.sources);
    let layers = bundle.layers().map_err(SpecError::Bundle)?;
    setup.ahead(rootfs::steps(layers, setting, namespaces.user)?);
    // In a user namespace the kernel mounts a new /proc or /sys only where
    // one can be seen that nothing covers (user_namespaces(7)): the host's.
    if !namespaces.user {
        setup.ahead([Step::DetachOldRoot]);
    }
    setup.rest([Step::StampRootfs]);
    setup.rest(namespaces::names(spec, namespaces)?);
    setup.ahead(namespaces::loopback(namespaces));
    setup.ahead(tree.mounts);
    if namespaces.user {
        setup.ahead([Step::DetachOldRoot]);
    }
    setup.ahead(process::sysctls(linux, namespaces)?);
    setup.rest([Step::EnsureDirectory(directory("process.cwd", process.cwd())?.into())]);
    for file in setting.files {
        setup.rest([rootfs::placed(file)?]);
    }
    setup.ahead(mounts::protections(spec)?);
    setup.rest(mounts::read_only_root(spec));
    if setting.attached {
        setup.rest([Step::DieWithParent]);
    }
    Ok(setup)
}

/// Whether the process of `spec` finds in a container made ahead what it would find in
/// one made at once: its working directory is made before anything is protected there.
pub(crate) fn fits_ahead(spec: &Spec) -> bool {
    let process = spec.process().as_ref();
    !process.is_some_and(|process| mounts::is_protected(spec, process.cwd()))
}

/// The steps and the command for a further process in a running container.
pub(crate) fn exec(process: &Process, spec: &Spec) -> Result<(Vec<Step>, Command), SpecError> {
    refuse::unsupported_process(process)?;
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let setting = Setting {
        scratch: Path::new("/"),
        privileged: true,
        attached: true,
        init: false,
        files: &[],
        is_first: false,
        changes: None,
    };
    Ok((process::launch(process, seccomp, setting)?, process::command(process)?))
}

fn compile(profile: &oci_spec::runtime::LinuxSeccomp) -> Result<seccomp::Compiled, SpecError> {
    seccomp::compile(profile).map_err(SpecError::Seccomp)
}

/// `text` as the kernel wants it.
fn c_string(field: &'static str, text: impl Into<Vec<u8>>) -> Result<CString, SpecError> {
    CString::new(text).map_err(|_| SpecError::invalid(field, "contains a null byte"))
}

fn c_path(field: &'static str, path: &Path) -> Result<CString, SpecError> {
    use std::os::unix::ffi::OsStrExt;
    c_string(field, path.as_os_str().as_bytes())
}

/// An absolute directory inside the container.
fn directory(field: &'static str, path: &Path) -> Result<CString, SpecError> {
    if path.is_absolute() {
        c_path(field, path)
    } else {
        Err(SpecError::invalid(field, format!("{} is not absolute", path.display())))
    }
}

/// An absolute path inside the container.
fn target(field: &'static str, path: &Path, is_file: bool) -> Result<Target, SpecError> {
    Ok(Target { path: directory(field, path)?, is_file })
}

#[cfg(test)]
mod tests;
