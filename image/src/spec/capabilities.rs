//! What the process may do besides what any user may.

use std::collections::HashSet;

use oci_spec::runtime::{Capability, LinuxCapabilities, LinuxCapabilitiesBuilder};

use super::user::User;
use super::{RunOptions, SpecError};

/// Docker's default set (moby, `oci/caps/defaults.go`).
const DEFAULT: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];

/// All of them (linux/capability.h), for `ALL`.
const ALL: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// The sets. Root gets them all effective. Any other user starts with none,
/// but programs with file capabilities may have them: they stay in the
/// bounding set. Inheritable and ambient sets stay empty: a process that finds
/// capabilities there keeps them where it should lose them.
pub(super) fn of(user: &User, options: &RunOptions) -> Result<LinuxCapabilities, SpecError> {
    let mut bounding: HashSet<_> = DEFAULT.into();
    for name in &options.cap_drop {
        let dropped = parse(name)?;
        bounding.retain(|capability| !dropped.contains(capability));
    }
    for name in &options.cap_add {
        bounding.extend(parse(name)?);
    }
    let own = if user.uid == 0 { bounding.clone() } else { HashSet::new() };
    Ok(LinuxCapabilitiesBuilder::default()
        .bounding(bounding)
        .effective(own.clone())
        .permitted(own)
        .inheritable(HashSet::new())
        .ambient(HashSet::new())
        .build()?)
}

fn parse(name: &str) -> Result<Vec<Capability>, SpecError> {
    let upper = name.to_ascii_uppercase();
    let upper = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if upper == "ALL" {
        return Ok(ALL.into());
    }
    let found = ALL.into_iter().find(|capability| capability.to_string() == upper);
    found
        .map(|capability| vec![capability])
        .ok_or_else(|| SpecError::UnknownCapability(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_is_known_by_name() {
        for capability in ALL {
            assert_eq!(parse(&format!("cap_{capability}")).unwrap(), [capability]);
        }
        assert!(matches!(parse("SYS_MAGIC"), Err(SpecError::UnknownCapability(_))));
    }
}
