//! What can be asked for when an image is run.

use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder, LinuxSeccomp};

use super::{Limits, SpecError};

/// Options of a run; the default is to run the image as it is, isolated.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Arguments, instead of the image's `Cmd`.
    pub args: Vec<String>,
    /// What to run, instead of the image's `Entrypoint`; the image's `Cmd` is
    /// not used then. Empty: no entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// `NAME=value` sets a variable, `NAME` alone removes it.
    pub env: Vec<String>,
    /// Working directory, instead of the image's `WorkingDir`.
    pub working_dir: Option<String>,
    /// `user`, `uid`, `user:group` or `uid:gid`, instead of the image's `User`.
    pub user: Option<String>,
    /// Host name inside; also the variable `HOSTNAME`.
    pub hostname: Option<String>,
    /// Standard input and output are a terminal.
    pub terminal: bool,
    /// Most memory, in bytes, swap included.
    pub memory_bytes: Option<u64>,
    /// CPU time, in processors.
    pub cpus: Option<f64>,
    /// Most processes and threads.
    pub pids_limit: Option<u64>,
    /// Limits that few ask for.
    pub limits: Limits,
    /// The root filesystem cannot be written to.
    pub read_only: bool,
    /// System calls that are let through; the backend's default is the
    /// caller's to give.
    pub seccomp: Option<LinuxSeccomp>,
    /// Capabilities beyond docker's default ones: `NET_ADMIN`,
    /// `CAP_NET_ADMIN` or `ALL`.
    pub cap_add: Vec<String>,
    /// Capabilities to take away; taken away before others are added.
    pub cap_drop: Vec<String>,
    /// Ids inside are other ids outside.
    pub user_namespace: Option<UserNamespace>,
}

/// Which ids inside are which ids outside (user_namespaces(7)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserNamespace {
    /// Users.
    pub users: Vec<IdMapping>,
    /// Groups.
    pub groups: Vec<IdMapping>,
}

/// A range of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMapping {
    /// First id inside.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

impl UserNamespace {
    /// Whether a group inside is one outside.
    pub(super) fn maps_group(&self, gid: u32) -> bool {
        self.groups.iter().any(|range| {
            gid.checked_sub(range.inside).is_some_and(|offset| offset < range.count)
        })
    }
}

pub(super) fn mappings(ranges: &[IdMapping]) -> Result<Vec<LinuxIdMapping>, SpecError> {
    let convert = |range: &IdMapping| {
        LinuxIdMappingBuilder::default()
            .container_id(range.inside)
            .host_id(range.outside)
            .size(range.count)
            .build()
    };
    Ok(ranges.iter().map(convert).collect::<Result<_, _>>()?)
}
