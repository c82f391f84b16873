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

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;

use bulkhead_runtime::{Bundle, BundleError};
use oci_spec::runtime::{LinuxIdMapping, Process, Spec};

use crate::child::Command;
use crate::seccomp::{self, SeccompError};
use crate::step::{Step, Target};

pub(crate) use namespaces::Namespaces;
pub use process::number as capability_number;

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
    /// The seccomp profile cannot be compiled.
    #[error("the seccomp profile")]
    Seccomp(#[source] SeccompError),
}

impl SpecError {
    fn invalid(field: &'static str, problem: impl Into<String>) -> Self {
        Self::Invalid { field, problem: problem.into() }
    }
}

/// Everything that is needed to make the container, apart from cgroups.
#[derive(Debug)]
pub(crate) struct Plan {
    pub namespaces: Namespaces,
    pub mappings: Mappings,
    pub setup: Vec<Step>,
    pub launch: Vec<Step>,
    pub command: Command,
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
}

impl Plan {
    /// Plans the container for `bundle`.
    pub(crate) fn new(bundle: &Bundle, setting: Setting<'_>) -> Result<Self, SpecError> {
        let spec = &bundle.spec;
        let process = bundle.process().map_err(SpecError::Bundle)?;
        let linux = bundle.linux().map_err(SpecError::Bundle)?;
        refuse::unsupported(spec)?;

        let (namespaces, held) = Namespaces::from_spec(linux, setting.privileged)?;
        let mappings = namespaces::mappings(linux, &namespaces)?;
        let mut setup = namespaces.first_steps();
        setup.extend(process::oom_score(process));
        let tree = mounts::Tree::from_spec(spec, &namespaces, &mappings)?;
        setup.push(mounts::propagation(linux)?);
        setup.extend(tree.sources);
        let layers = bundle.layers().map_err(SpecError::Bundle)?;
        setup.extend(rootfs::steps(layers, setting.scratch, namespaces.user)?);
        // In a user namespace the kernel mounts a new /proc or /sys only where
        // one can be seen that nothing covers (user_namespaces(7)): the host's.
        let mut mounts = vec![Step::DetachOldRoot, Step::StampRootfs];
        mounts.extend(namespaces::identity(spec, &namespaces)?);
        mounts.extend(tree.mounts);
        if namespaces.user {
            mounts.rotate_left(1);
        }
        setup.extend(mounts);
        setup.extend(process::sysctls(linux, &namespaces)?);
        setup.push(Step::EnsureDirectory(directory("process.cwd", process.cwd())?));
        setup.extend(mounts::protections(spec)?);
        if setting.attached {
            setup.push(Step::DieWithParent);
        }
        let launch = process::launch(process, linux.seccomp().as_ref(), setting)?;
        let command = process::command(process)?;
        Ok(Self { namespaces, mappings, setup, launch, command, held })
    }
}

/// The steps and the command for a further process in a running container.
pub(crate) fn exec(process: &Process, spec: &Spec) -> Result<(Vec<Step>, Command), SpecError> {
    refuse::unsupported_process(process)?;
    let seccomp = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let setting =
        Setting { scratch: Path::new("/"), privileged: true, attached: true, init: false };
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
fn directory(field: &'static str, path: &Path) -> Result<Target, SpecError> {
    target(field, path, false)
}

/// An absolute path inside the container, with the directories above it.
fn target(field: &'static str, path: &Path, is_file: bool) -> Result<Target, SpecError> {
    if !path.is_absolute() {
        return Err(SpecError::invalid(field, format!("{} is not absolute", path.display())));
    }
    let mut parents = Vec::new();
    for parent in path.ancestors().skip(1) {
        if parent.parent().is_some() {
            parents.push(c_path(field, parent)?);
        }
    }
    parents.reverse();
    Ok(Target { path: c_path(field, path)?, parents, is_file })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_runtime::Rootfs;
    use oci_spec::runtime::{
        LinuxBuilder, LinuxNamespaceBuilder, LinuxNamespaceType as Kind, ProcessBuilder,
        SpecBuilder,
    };

    fn bundle(no_new_privileges: bool) -> Bundle {
        let kinds = [Kind::Mount, Kind::Pid, Kind::Network, Kind::Uts, Kind::Cgroup];
        let namespaces =
            kinds.map(|kind| LinuxNamespaceBuilder::default().typ(kind).build().unwrap());
        let linux = LinuxBuilder::default()
            .namespaces(namespaces.to_vec())
            .seccomp(seccomp::default_profile())
            .build()
            .unwrap();
        let process = ProcessBuilder::default()
            .args(vec!["sh".to_owned()])
            .cwd("/work")
            .no_new_privileges(no_new_privileges)
            .build()
            .unwrap();
        let spec = SpecBuilder::default()
            .hostname("here")
            .process(process)
            .linux(linux)
            .mounts(oci_spec::runtime::get_default_mounts())
            .build()
            .unwrap();
        Bundle { spec, rootfs: Rootfs::Layers(vec!["/usr".into()]) }
    }

    fn plan(bundle: &Bundle, privileged: bool) -> Plan {
        let scratch = Path::new("/run/x");
        Plan::new(bundle, Setting { scratch, privileged, attached: true, init: false }).unwrap()
    }

    fn position(steps: &[Step], wanted: impl Fn(&Step) -> bool) -> usize {
        steps.iter().position(wanted).unwrap()
    }

    fn is_mount_of(step: &Step, path: &std::ffi::CStr) -> bool {
        matches!(step, Step::Mount(mount) if mount.target.path.as_c_str() == path)
    }

    #[test]
    fn nothing_is_mounted_inside_before_the_host_is_gone() {
        let plan = plan(&bundle(true), true);
        let gone = position(&plan.setup, |step| *step == Step::DetachOldRoot);
        let pivot = position(&plan.setup, |step| matches!(step, Step::Pivot { .. }));
        assert_eq!(gone, pivot + 1);
        assert!(gone < position(&plan.setup, |step| is_mount_of(step, c"/proc")));
        assert_eq!(plan.setup.last(), Some(&Step::DieWithParent));
    }

    #[test]
    fn an_unprivileged_caller_gets_a_user_namespace() {
        let plan = plan(&bundle(true), false);
        assert!(plan.namespaces.user);
        assert_eq!(plan.setup.first(), Some(&Step::AwaitMappings));
        let gone = position(&plan.setup, |step| *step == Step::DetachOldRoot);
        assert!(gone > position(&plan.setup, |step| is_mount_of(step, c"/sys")));
        assert!(!plan.setup.iter().any(|step| matches!(step, Step::Node { .. })));
        assert_eq!((plan.mappings.uids.len(), plan.mappings.gids.len()), (1, 1));
    }

    #[test]
    fn the_filter_comes_as_late_as_privileges_allow() {
        let late = plan(&bundle(true), true).launch;
        assert!(matches!(late.last(), Some(Step::Seccomp { .. })));
        let before = position(&late, |step| *step == Step::NoNewPrivileges);
        assert!(before < position(&late, |step| matches!(step, Step::Seccomp { .. })));
        let early = plan(&bundle(false), true).launch;
        let filter = position(&early, |step| matches!(step, Step::Seccomp { .. }));
        assert!(filter < position(&early, |step| matches!(step, Step::Bounding(_))));
        assert!(!early.contains(&Step::NoNewPrivileges));
    }

    #[test]
    fn a_target_knows_the_way_to_itself() {
        let deep = target("mounts", Path::new("/a/b/c"), false).unwrap();
        assert_eq!(deep.parents, [c"/a".to_owned(), c"/a/b".to_owned()]);
        assert!(directory("mounts", Path::new("/a")).unwrap().parents.is_empty());
        assert!(directory("mounts", Path::new("a")).is_err());
    }
}
