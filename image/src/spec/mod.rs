//! From an image's configuration to the runtime-spec `config.json`: the one
//! place where that is decided, so that both walls run the same process.
//!
//! The rules are those of image-spec, "Conversion to OCI Runtime
//! Configuration", and docker's where that leaves a choice.

mod capabilities;
mod environment;
mod filesystem;
mod further;
mod limits;
mod options;
mod throttle;
mod ulimit;
pub(crate) mod user;

use std::collections::HashMap;
use std::path::PathBuf;

use oci_spec::OciSpecError;
use oci_spec::image::{Config, ImageConfiguration};
use oci_spec::runtime::{
    Linux, LinuxBuilder, LinuxNamespaceBuilder, LinuxNamespaceType, ProcessBuilder,
    RootBuilder, Spec, SpecBuilder,
};

pub use further::{FurtherOptions, further_process};
pub use limits::{Limits, Swap, changes};
pub use options::{IdMapping, RunOptions, UserNamespace};

pub use throttle::{ParseThrottleError, Throttle};
pub use ulimit::{ParseUlimitError, Ulimit};

use crate::Accounts;

/// Version of the runtime-spec that the result follows.
const RUNTIME_SPEC: &str = "1.2.0";

/// Annotation with the signal that asks the process to stop (image-spec,
/// "Annotation Fields" of the conversion).
pub const STOP_SIGNAL: &str = "org.opencontainers.image.stopSignal";

/// Options, or an image, that no process can be made of.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// Neither the image nor the options say what to run.
    #[error("the image has no default command; say what to run")]
    NoCommand,
    /// The working directory is relative.
    #[error("working directory `{0}` is not an absolute path")]
    WorkingDirectory(String),
    /// The image does not know the user.
    #[error("user `{0}` is not in the image's /etc/passwd")]
    UnknownUser(String),
    /// The image does not know the group.
    #[error("group `{0}` is not in the image's /etc/group")]
    UnknownGroup(String),
    /// A user or group number that Linux does not have.
    #[error("`{0}` is not between 0 and {max}", max = user::MAX_ID)]
    IdOutOfRange(String),
    /// A variable without a name.
    #[error("`{0}` is not an environment variable: write NAME=value")]
    Environment(String),
    /// A string that cannot be handed to a process.
    #[error("`{}` contains a NUL byte", .0.escape_debug())]
    Nul(String),
    /// Not the name of a capability.
    #[error("`{0}` is not the name of a capability")]
    UnknownCapability(String),
    /// A share of CPU time that cannot be given.
    #[error("{0} CPUs cannot be given: at least 0.01")]
    Cpus(f64),
    /// A limit that leaves nothing to run with.
    #[error("a limit of {limit} {unit} is out of range")]
    Limit {
        /// The limit.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
    /// How much swap there may be cannot be said.
    #[error("a limit of memory and swap together needs one of memory")]
    SwapWithoutMemory,
    /// There is no such disk.
    #[error("{} is no block device of this host", .0.display())]
    NoDevice(PathBuf),
    /// A rank that the kernel does not have.
    #[error("an OOM score adjustment of {0} is not between -1000 and 1000")]
    OomScore(i32),
    /// A bug: the parts do not make a specification.
    #[error("config.json cannot be put together")]
    Build(#[from] OciSpecError),
}

/// Makes the `config.json` for running an image.
///
/// The working directory may not exist in the image; like docker, a backend
/// makes it in the writable layer, owned by root.
///
/// # Errors
///
/// [`SpecError`] says which option or which part of the image is no use.
pub fn runtime_spec(
    image: &ImageConfiguration,
    accounts: &Accounts,
    options: &RunOptions,
) -> Result<Spec, SpecError> {
    let default = Config::default();
    let config = image.config().as_ref().unwrap_or(&default);
    let wanted = options.user.as_ref().or(config.user().as_ref());
    let user = user::resolve(wanted.map_or("", String::as_str), accounts)?;
    let process = ProcessBuilder::default()
        .terminal(options.terminal)
        .args(arguments(config, options)?)
        .env(environment::of(config, &user, options)?)
        .cwd(working_directory(config, options)?)
        .capabilities(capabilities::of(&user, options)?)
        .no_new_privileges(true)
        .user(user.into_runtime()?);
    let root = RootBuilder::default().path("rootfs").readonly(options.read_only).build()?;
    let mut spec = SpecBuilder::default()
        .version(RUNTIME_SPEC)
        .root(root)
        .mounts(filesystem::mounts(options.user_namespace.as_ref(), options.limits.shm_bytes)?)
        // The default of oci-spec raises RLIMIT_NOFILE, which takes a privilege
        // that a host may not give us; limits are inherited instead.
        .process(process.rlimits(ulimit::rlimits(&options.limits.ulimits)?).build()?)
        .annotations(annotations(image, config))
        .linux(linux(options)?)
        .build()?;
    if let Some(score) = options.limits.oom_score_adj {
        if !(-1000..=1000).contains(&score) {
            return Err(SpecError::OomScore(score));
        }
        spec.process_mut().as_mut().map(|process| process.set_oom_score_adj(Some(score)));
    }
    spec.set_hostname(options.hostname.clone());
    Ok(spec)
}

/// Entrypoint and command, replaced as docker does: arguments replace the
/// command only; an entrypoint of one's own also drops the image's command.
fn arguments(config: &Config, options: &RunOptions) -> Result<Vec<String>, SpecError> {
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let (mut arguments, default) = match &options.entrypoint {
        Some(entrypoint) => (entrypoint.clone(), Vec::new()),
        None => (list(config.entrypoint()), list(config.cmd())),
    };
    if options.args.is_empty() {
        arguments.extend(default);
    } else {
        arguments.extend(options.args.iter().cloned());
    }
    if arguments.first().is_none_or(String::is_empty) {
        return Err(SpecError::NoCommand);
    }
    arguments.into_iter().map(without_nul).collect()
}

fn working_directory(config: &Config, options: &RunOptions) -> Result<PathBuf, SpecError> {
    let from_image = || config.working_dir().clone().filter(|dir| !dir.is_empty());
    let dir = options.working_dir.clone().or_else(from_image).unwrap_or_else(|| "/".to_owned());
    if !dir.starts_with('/') {
        return Err(SpecError::WorkingDirectory(dir));
    }
    Ok(without_nul(dir)?.into())
}

fn without_nul(text: String) -> Result<String, SpecError> {
    if text.contains('\0') { Err(SpecError::Nul(text)) } else { Ok(text) }
}

/// What the image says about itself; its own labels go first.
fn annotations(image: &ImageConfiguration, config: &Config) -> HashMap<String, String> {
    let mut annotations = HashMap::new();
    let mut add = |key: &str, value: Option<&str>| {
        if let Some(value) = value {
            annotations.insert(key.to_owned(), value.to_owned());
        }
    };
    add("org.opencontainers.image.os", Some(&image.os().to_string()));
    add("org.opencontainers.image.architecture", Some(&image.architecture().to_string()));
    add("org.opencontainers.image.author", image.author().as_deref());
    add("org.opencontainers.image.created", image.created().as_deref());
    add(STOP_SIGNAL, config.stop_signal().as_deref());
    let ports = config.exposed_ports().clone().map(|mut ports| {
        ports.sort();
        ports.join(",")
    });
    add("org.opencontainers.image.exposedPorts", ports.as_deref());
    annotations.extend(config.labels().clone().unwrap_or_default());
    annotations
}

fn linux(options: &RunOptions) -> Result<Linux, SpecError> {
    let mut kinds = vec![
        LinuxNamespaceType::Pid,
        LinuxNamespaceType::Network,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Cgroup,
    ];
    if options.user_namespace.is_some() {
        kinds.push(LinuxNamespaceType::User);
    }
    let namespaces = kinds
        .into_iter()
        .map(|kind| LinuxNamespaceBuilder::default().typ(kind).build())
        .collect::<Result<Vec<_>, _>>()?;
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces)
        .resources(limits::resources(options)?)
        .masked_paths(filesystem::masked_paths())
        .readonly_paths(filesystem::read_only_paths())
        .build()?;
    linux.set_seccomp(options.seccomp.clone());
    if let Some(mappings) = &options.user_namespace {
        linux.set_uid_mappings(Some(options::mappings(&mappings.users)?));
        linux.set_gid_mappings(Some(options::mappings(&mappings.groups)?));
    }
    Ok(linux)
}

#[cfg(test)]
mod tests;
