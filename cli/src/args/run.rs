//! `bulkhead run`.

use std::path::PathBuf;
use std::time::Duration;

use bulkhead_image::spec::RunOptions;
use bulkhead_microvm::{Prefetch, RootDisk};
use bulkhead_runtime::{Isolation, SandboxId};
use clap::{Args, ValueEnum, ValueHint};
use serde::{Deserialize, Serialize};

use super::advise::TrustArgs;
use super::build::PullChoice;
use super::lifecycle::{HealthArgs, LifeArgs};
use super::limits::ResourceArgs;
use super::network::NetworkArgs;
use super::terminal::TerminalArgs;
use super::values::{cpus, duration, memory};
use super::volume::MountArgs;

/// The device of a microVM's root filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootDiskChoice {
    /// A disk to read from
    #[default]
    Blk,
    /// Memory, shared by all microVMs of an image and the host
    Pmem,
}

impl From<RootDiskChoice> for RootDisk {
    fn from(choice: RootDiskChoice) -> Self {
        match choice {
            RootDiskChoice::Blk => Self::Blk,
            RootDiskChoice::Pmem => Self::Pmem,
        }
    }
}

/// When the pages of a saved microVM come into one that goes on from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestoreChoice {
    /// Each when the guest touches it first
    Lazy,
    /// All of them before the guest runs, to be read
    Eager,
    /// Before the guest runs, those that the first run from there had touched when its
    /// command began
    #[default]
    WorkingSet,
}

impl From<RestoreChoice> for Prefetch {
    fn from(choice: RestoreChoice) -> Self {
        match choice {
            RestoreChoice::Lazy => Self::Lazy,
            RestoreChoice::Eager => Self::Eager,
            RestoreChoice::WorkingSet => Self::WorkingSet,
        }
    }
}

/// What a run is asked for. It is kept with a sandbox that outlives the command that asked,
/// to be used again when the sandbox is started again.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct RunArgs {
    /// The wall: container, microvm, or auto to take the one `bulkhead advise` would
    #[arg(long, default_value = "container", value_parser = wall, value_name = "WALL")]
    pub isolation: WallChoice,
    #[command(flatten)]
    pub trust: TrustArgs,
    #[command(flatten)]
    pub terminal: TerminalArgs,
    #[command(flatten)]
    pub process: ProcessArgs,
    /// Host name inside [default: the sandbox's name]
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Name of the sandbox [default: random]
    #[arg(long, value_name = "NAME")]
    pub name: Option<SandboxId>,
    #[command(flatten)]
    pub life: LifeArgs,
    #[command(flatten)]
    pub health: HealthArgs,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub resources: ResourceArgs,
    #[command(flatten)]
    pub privileges: PrivilegeArgs,
    #[command(flatten)]
    pub mounts: MountArgs,
    #[command(flatten)]
    pub network: NetworkArgs,
    /// Kill the sandbox after this time: seconds, or with a suffix ms, s, m, h
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub timeout: Option<Duration>,
    /// Guest kernel of the microVM, ELF vmlinux or bzImage [default: the one
    /// `bulkhead kernel build` made]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub kernel: Option<PathBuf>,
    /// How a microVM is shown its root filesystem
    #[arg(long, value_enum, default_value_t, value_name = "DEVICE")]
    pub root_disk: RootDiskChoice,
    /// Make the sandbox from nothing, also where a prepared one waits (`bulkhead pool`) or
    /// a template would spare a microVM's boot
    #[arg(long)]
    pub cold: bool,
    /// Once the command runs, prepare sandboxes until K wait for runs like this one
    #[arg(long, value_name = "K")]
    pub warm_pool: Option<usize>,
    /// Go on from a snapshot of a microVM instead of booting one
    #[arg(long, value_name = "NAME", conflicts_with = "cold")]
    pub from_snapshot: Option<String>,
    /// When the memory of a template or snapshot comes into the microVM
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub restore: RestoreChoice,
    /// Write the named clocks of this run to a file, as JSON
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub timeline: Option<PathBuf>,
    /// When the image is pulled from its registry
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pub pull: PullChoice,
    /// The image
    pub image: String,
    /// The command and its arguments [default: the image's]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// How the command is run.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessArgs {
    /// Set an environment variable; without a value, pass the caller's on
    #[arg(long, short = 'e', value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Working directory inside
    #[arg(long, short = 'w', value_name = "DIR")]
    pub workdir: Option<String>,
    /// User inside: name or uid, optionally with :group or :gid
    #[arg(long, short = 'u', value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Replace the image's entrypoint
    #[arg(long, value_name = "COMMAND")]
    pub entrypoint: Option<String>,
    /// Run a minimal init as PID 1 that forwards signals and reaps orphans
    #[arg(long)]
    pub init: bool,
}

impl ProcessArgs {
    /// The environment that is asked for, with the caller's values where it has to have
    /// them.
    pub fn passed_on(&self) -> Vec<String> {
        self.env.iter().filter_map(|variable| environment(variable)).collect()
    }

    /// `options` with the arguments `command` and the rest of what is said here.
    pub fn options(&self, command: &[String], options: RunOptions) -> RunOptions {
        RunOptions {
            args: command.to_vec(),
            entrypoint: self.entrypoint.as_deref().map(words),
            env: self.passed_on(),
            working_dir: self.workdir.clone(),
            user: self.user.clone(),
            ..options
        }
    }
}

/// An empty entrypoint is none, as with docker.
fn words(entrypoint: &str) -> Vec<String> {
    if entrypoint.is_empty() { Vec::new() } else { vec![entrypoint.to_owned()] }
}

/// `NAME` alone passes the caller's value on, if it has one.
pub fn environment(variable: &str) -> Option<String> {
    if variable.contains('=') {
        return Some(variable.to_owned());
    }
    std::env::var(variable).ok().map(|value| format!("{variable}={value}"))
}

/// What a sandbox is limited to, for good, when it is made.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitArgs {
    /// Memory limit: bytes, or with a suffix b, k, m, g
    #[arg(long, short = 'm', value_parser = memory, value_name = "SIZE")]
    pub memory: Option<u64>,
    /// CPU limit in processors, for example 0.5
    #[arg(long, value_parser = cpus, value_name = "N")]
    pub cpus: Option<f64>,
    #[command(flatten)]
    pub inside: InsideArgs,
}

/// What it is limited to by what is inside.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct InsideArgs {
    /// Limit of processes and threads
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub pids_limit: Option<u64>,
    /// Make the root filesystem read-only
    #[arg(long)]
    pub read_only: bool,
}

impl LimitArgs {
    /// The options of a sandbox with these limits.
    pub fn options(&self) -> RunOptions {
        RunOptions { memory_bytes: self.memory, cpus: self.cpus, ..self.inside.options() }
    }
}

impl InsideArgs {
    /// The options of a sandbox with these limits.
    pub fn options(&self) -> RunOptions {
        RunOptions {
            pids_limit: self.pids_limit,
            read_only: self.read_only,
            ..RunOptions::default()
        }
    }
}

/// What the workload may do.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct PrivilegeArgs {
    /// Give a capability beyond the default ones; ALL gives every one
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_add: Vec<String>,
    /// Take a capability away; ALL takes every one
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_drop: Vec<String>,
    /// System call filter of a container: `default`, `unconfined`, or a file with
    /// `linux.seccomp` of the runtime-spec as JSON
    #[arg(long, value_name = "PROFILE", value_hint = ValueHint::FilePath)]
    pub seccomp: Option<String>,
}

/// A wall, or that one is to be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WallChoice {
    /// This one.
    Fixed(Isolation),
    /// The one that is advised.
    Auto,
}

impl Default for WallChoice {
    fn default() -> Self {
        Self::Fixed(Isolation::Container)
    }
}

fn wall(text: &str) -> Result<WallChoice, String> {
    if text == "auto" {
        return Ok(WallChoice::Auto);
    }
    walled(text).map(WallChoice::Fixed)
}

/// A kind of isolation that is a wall.
pub fn walled(text: &str) -> Result<Isolation, String> {
    match text.parse()? {
        Isolation::Native => Err("a sandbox needs a wall: container or microvm".to_owned()),
        wall => Ok(wall),
    }
}
