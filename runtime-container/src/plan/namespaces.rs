//! Which namespaces are made, which are entered, and what is set in them.

use std::borrow::Cow;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

use oci_spec::runtime::{
    Linux, LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespaceType as Kind, Spec,
};

use super::{Mappings, SpecError, Step};

/// The namespaces of a container.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Namespaces {
    /// `CLONE_NEW*` flags of those made with the process. The cgroup namespace
    /// is not among them: its root is the cgroup its maker is in, so the child
    /// makes it once it has joined.
    pub clone_flags: u64,
    pub cgroup: bool,
    pub user: bool,
    pub network: bool,
    pub ipc: bool,
    pub uts: bool,
    /// Existing ones to enter: descriptor and kind.
    enter: Vec<(i32, i32)>,
}

impl Namespaces {
    /// Those the spec lists. An unprivileged caller gets a user namespace also
    /// when the spec lists none, since nothing works without.
    pub(super) fn from_spec(
        linux: &Linux,
        privileged: bool,
    ) -> Result<(Self, Vec<OwnedFd>), SpecError> {
        let mut these = Self::default();
        let mut held = Vec::new();
        let mut flags = 0;
        for namespace in linux.namespaces().iter().flatten() {
            let kind = namespace.typ();
            let flag = kind as i32;
            if let Some(path) = namespace.path() {
                if !matches!(kind, Kind::Network | Kind::Ipc | Kind::Uts | Kind::Cgroup) {
                    let what =
                        format!("linux.namespaces: entering an existing {kind} namespace");
                    return Err(SpecError::Unsupported(what));
                }
                let file = File::open(path).map_err(|source| SpecError::HostPath {
                    path: path.display().to_string(),
                    source,
                })?;
                these.enter.push((file.as_raw_fd(), flag));
                held.push(file.into());
                continue;
            }
            match kind {
                Kind::Cgroup => these.cgroup = true,
                Kind::Time => {
                    return Err(SpecError::Unsupported("linux.namespaces: time".into()));
                }
                _ => flags |= flag,
            }
        }
        if !privileged {
            flags |= Kind::User as i32;
        }
        for (kind, name) in [(Kind::Mount, "mount"), (Kind::Pid, "pid")] {
            if flags & kind as i32 == 0 {
                let what = format!("linux.namespaces without a new {name} namespace");
                return Err(SpecError::Unsupported(what));
            }
        }
        let has = |kind: Kind| flags & kind as i32 != 0;
        these.user = has(Kind::User);
        these.network = has(Kind::Network);
        these.ipc = has(Kind::Ipc);
        these.uts = has(Kind::Uts);
        these.clone_flags = u64::from(flags.cast_unsigned());
        Ok((these, held))
    }

    /// Whether an existing one is entered.
    pub(super) fn enters_any(&self) -> bool {
        !self.enter.is_empty()
    }

    /// What comes before everything else: to be root of the user namespace.
    /// The cgroups are joined right after it.
    pub(super) fn first_steps(&self) -> Vec<Step> {
        let mut steps = Vec::with_capacity(64);
        if self.user {
            steps.push(Step::AwaitMappings);
        }
        for (fd, kind) in &self.enter {
            steps.push(Step::Enter { fd: *fd, kind: *kind });
        }
        steps
    }
}

/// The mappings of the user namespace: the spec's, or the caller as root.
pub(super) fn mappings(linux: &Linux, namespaces: &Namespaces) -> Result<Mappings, SpecError> {
    let given = (linux.uid_mappings().clone(), linux.gid_mappings().clone());
    if !namespaces.user {
        if given.0.is_some_and(|list| !list.is_empty())
            || given.1.is_some_and(|list| !list.is_empty())
        {
            return Err(SpecError::invalid(
                "linux.uidMappings",
                "no user namespace is asked for",
            ));
        }
        return Ok(Mappings::default());
    }
    let itself = |id: u32| -> Result<Vec<LinuxIdMapping>, SpecError> {
        LinuxIdMappingBuilder::default()
            .host_id(id)
            .container_id(0_u32)
            .size(1_u32)
            .build()
            .map(|mapping| vec![mapping])
            .map_err(|error| SpecError::invalid("linux.uidMappings", error.to_string()))
    };
    let uids = match given.0 {
        Some(list) if !list.is_empty() => list,
        _ => itself(rustix::process::geteuid().as_raw())?,
    };
    let gids = match given.1 {
        Some(list) if !list.is_empty() => list,
        _ => itself(rustix::process::getegid().as_raw())?,
    };
    Ok(Mappings { uids, gids })
}

/// Host name and domain name.
pub(super) fn names(spec: &Spec, namespaces: &Namespaces) -> Result<Vec<Step>, SpecError> {
    let mut steps = Vec::new();
    let names = [
        ("hostname", spec.hostname(), Step::Hostname as fn(Cow<'static, [u8]>) -> Step),
        ("domainname", spec.domainname(), Step::Domainname),
    ];
    for (field, name, step) in names {
        if let Some(name) = name {
            if !namespaces.uts {
                return Err(SpecError::invalid(field, "needs a uts namespace of its own"));
            }
            steps.push(step(name.clone().into_bytes().into()));
        }
    }
    Ok(steps)
}

/// The loopback interface of a network namespace of its own.
pub(super) fn loopback(namespaces: &Namespaces) -> Option<Step> {
    namespaces.network.then_some(Step::LoopbackUp)
}
