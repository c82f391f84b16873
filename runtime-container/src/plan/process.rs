//! The process: command, credentials, limits.

use std::collections::HashSet;
use std::ffi::CString;
use std::path::Path;

use oci_spec::runtime::{
    Capabilities, Capability, Linux, LinuxSeccomp, PosixRlimit, PosixRlimitType, Process,
};

use crate::child::{Command, StringArray};
use crate::step::CapabilitySets;

use super::{Namespaces, Setting, SpecError, Step, c_path, c_string, compile};

/// Where a command without a slash is looked for when the environment has no
/// `PATH` (execvp(3)).
const FALLBACK_PATH: &str = "/bin:/usr/bin";

/// The steps from the order to start up to `execve`, in runc's order: what
/// needs privilege first.
pub(super) fn launch(
    process: &Process,
    seccomp: Option<&LinuxSeccomp>,
    setting: Setting<'_>,
) -> Result<Vec<Step>, SpecError> {
    let mut steps = Vec::with_capacity(16);
    let terminal = process.terminal().unwrap_or(false);
    if terminal {
        let uid = process.user().uid();
        steps.push(Step::Terminal { uid, is_console: setting.is_first });
    }
    // An init leaves the terminal to its child, whose session it is to be.
    steps.push(Step::Session { terminal: terminal && !setting.init });
    for limit in process.rlimits().iter().flatten() {
        steps.push(rlimit(limit));
    }
    // The working directory of a workload may be closed to its user; it is
    // entered with the container's root privileges, as docker does.
    steps.push(Step::Chdir(c_path("process.cwd", process.cwd())?.into()));
    let filters = seccomp.map(filters).transpose()?.unwrap_or_default();
    let no_new_privileges = process.no_new_privileges().unwrap_or(false);
    let (early, late) = if no_new_privileges {
        (Vec::new(), filters)
    } else {
        // Without no_new_privs a filter takes CAP_SYS_ADMIN (seccomp(2)).
        (filters, Vec::new())
    };
    steps.extend(early);
    let sets = capabilities(process);
    steps.push(Step::Bounding(sets.bounding));
    let user = process.user();
    steps.push(Step::Become {
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default().into(),
    });
    steps.push(Step::Capabilities(sets));
    if setting.attached {
        // A change of credentials clears it (prctl(2), PR_SET_PDEATHSIG).
        steps.push(Step::DieWithParent);
    }
    if setting.init {
        steps.push(Step::NotDumpable);
    }
    steps.push(Step::Umask(user.umask().unwrap_or(0o022)));
    if no_new_privileges {
        steps.push(Step::NoNewPrivileges);
    }
    steps.extend(late);
    Ok(steps)
}

fn filters(profile: &LinuxSeccomp) -> Result<Vec<Step>, SpecError> {
    let compiled = compile(profile)?;
    let flags = compiled.flags;
    let install = |program: Vec<_>| Step::Seccomp { flags, program: program.into() };
    Ok(compiled.programs.into_iter().map(install).collect())
}

/// `/proc/self/oom_score_adj`, while `/proc` is still the host's.
pub(super) fn oom_score(process: &Process) -> Option<Step> {
    process.oom_score_adj().map(|score| Step::WriteFile {
        path: c"/proc/self/oom_score_adj".to_owned(),
        data: score.to_string().into_bytes(),
    })
}

/// The sets; a process without any named keeps none.
fn capabilities(process: &Process) -> CapabilitySets {
    let Some(sets) = process.capabilities() else { return CapabilitySets::default() };
    CapabilitySets {
        bounding: mask(sets.bounding().as_ref()),
        effective: mask(sets.effective().as_ref()),
        permitted: mask(sets.permitted().as_ref()),
        inheritable: mask(sets.inheritable().as_ref()),
        ambient: mask(sets.ambient().as_ref()),
    }
}

fn mask(set: Option<&Capabilities>) -> u64 {
    let empty = HashSet::new();
    set.unwrap_or(&empty).iter().fold(0, |mask, capability| mask | 1 << number(*capability))
}

/// The capability's bit (linux/capability.h).
#[must_use]
pub fn number(capability: Capability) -> u32 {
    use Capability as C;
    match capability {
        C::Chown => 0,
        C::DacOverride => 1,
        C::DacReadSearch => 2,
        C::Fowner => 3,
        C::Fsetid => 4,
        C::Kill => 5,
        C::Setgid => 6,
        C::Setuid => 7,
        C::Setpcap => 8,
        C::LinuxImmutable => 9,
        C::NetBindService => 10,
        C::NetBroadcast => 11,
        C::NetAdmin => 12,
        C::NetRaw => 13,
        C::IpcLock => 14,
        C::IpcOwner => 15,
        C::SysModule => 16,
        C::SysRawio => 17,
        C::SysChroot => 18,
        C::SysPtrace => 19,
        C::SysPacct => 20,
        C::SysAdmin => 21,
        C::SysBoot => 22,
        C::SysNice => 23,
        C::SysResource => 24,
        C::SysTime => 25,
        C::SysTtyConfig => 26,
        C::Mknod => 27,
        C::Lease => 28,
        C::AuditWrite => 29,
        C::AuditControl => 30,
        C::Setfcap => 31,
        C::MacOverride => 32,
        C::MacAdmin => 33,
        C::Syslog => 34,
        C::WakeAlarm => 35,
        C::BlockSuspend => 36,
        C::AuditRead => 37,
        C::Perfmon => 38,
        C::Bpf => 39,
        C::CheckpointRestore => 40,
    }
}

fn rlimit(limit: &PosixRlimit) -> Step {
    use PosixRlimitType as R;
    let (resource, name) = match limit.typ() {
        R::RlimitCpu => (libc::RLIMIT_CPU, "RLIMIT_CPU"),
        R::RlimitFsize => (libc::RLIMIT_FSIZE, "RLIMIT_FSIZE"),
        R::RlimitData => (libc::RLIMIT_DATA, "RLIMIT_DATA"),
        R::RlimitStack => (libc::RLIMIT_STACK, "RLIMIT_STACK"),
        R::RlimitCore => (libc::RLIMIT_CORE, "RLIMIT_CORE"),
        R::RlimitRss => (libc::RLIMIT_RSS, "RLIMIT_RSS"),
        R::RlimitNproc => (libc::RLIMIT_NPROC, "RLIMIT_NPROC"),
        R::RlimitNofile => (libc::RLIMIT_NOFILE, "RLIMIT_NOFILE"),
        R::RlimitMemlock => (libc::RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK"),
        R::RlimitAs => (libc::RLIMIT_AS, "RLIMIT_AS"),
        R::RlimitLocks => (libc::RLIMIT_LOCKS, "RLIMIT_LOCKS"),
        R::RlimitSigpending => (libc::RLIMIT_SIGPENDING, "RLIMIT_SIGPENDING"),
        R::RlimitMsgqueue => (libc::RLIMIT_MSGQUEUE, "RLIMIT_MSGQUEUE"),
        R::RlimitNice => (libc::RLIMIT_NICE, "RLIMIT_NICE"),
        R::RlimitRtprio => (libc::RLIMIT_RTPRIO, "RLIMIT_RTPRIO"),
        R::RlimitRttime => (libc::RLIMIT_RTTIME, "RLIMIT_RTTIME"),
    };
    Step::Limit { resource, name, soft: limit.soft(), hard: limit.hard() }
}

/// Writes to `/proc/sys`, of the parameters that belong to a namespace of the
/// container (runc's list).
pub(super) fn sysctls(linux: &Linux, namespaces: &Namespaces) -> Result<Vec<Step>, SpecError> {
    let mut steps = Vec::new();
    for (key, value) in linux.sysctl().iter().flatten() {
        let ipc = key.starts_with("kernel.msg")
            || key.starts_with("kernel.shm")
            || key == "kernel.sem"
            || key.starts_with("fs.mqueue.");
        let private = (ipc && namespaces.ipc)
            || (key.starts_with("net.") && namespaces.network)
            || (key == "kernel.domainname" && namespaces.uts);
        if !private || key.contains('/') || key.contains("..") {
            return Err(SpecError::Unsupported(format!("linux.sysctl {key}")));
        }
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        let path = c_string("linux.sysctl", path)?;
        steps.push(Step::WriteFile { path, data: value.clone().into_bytes() });
    }
    Ok(steps)
}

/// What is executed, with every place it may be found at.
pub(super) fn command(process: &Process) -> Result<Command, SpecError> {
    let strings = |field, list: Option<&Vec<String>>| {
        list.into_iter()
            .flatten()
            .map(|text| c_string(field, text.as_str()))
            .collect::<Result<Vec<CString>, _>>()
    };
    let args = process.args().as_ref();
    let name = args.and_then(|args| args.first()).map(String::as_str).unwrap_or_default();
    let path = process
        .env()
        .iter()
        .flatten()
        .find_map(|entry| entry.strip_prefix("PATH="))
        .unwrap_or(FALLBACK_PATH);
    Ok(Command {
        candidates: candidates(name, path)?,
        argv: StringArray::new(strings("process.args", args)?),
        envp: StringArray::new(strings("process.env", process.env().as_ref())?),
    })
}

fn candidates(name: &str, path: &str) -> Result<Vec<CString>, SpecError> {
    if name.is_empty() {
        return Err(SpecError::invalid("process.args", "the command's name is empty"));
    }
    if name.contains('/') {
        return Ok(vec![c_string("process.args", name)?]);
    }
    path.split(':')
        // An empty entry is the working directory (execvp(3)).
        .map(|dir| if dir.is_empty() { Path::new(".") } else { Path::new(dir) })
        .map(|dir| c_path("process.args", &dir.join(name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_looked_for_as_a_shell_would() {
        let found = |name, path| candidates(name, path).unwrap();
        assert_eq!(
            found("sh", "/a::/b"),
            [c"/a/sh".into(), c"./sh".into(), c"/b/sh".into()] as [CString; 3]
        );
        assert_eq!(found("./sh", "/a"), [c"./sh".to_owned()]);
        assert!(candidates("", "/a").is_err());
    }

    #[test]
    fn capability_bits_are_the_kernels() {
        let set = [Capability::Chown, Capability::Mknod, Capability::CheckpointRestore];
        assert_eq!(mask(Some(&set.into_iter().collect())), 1 | 1 << 27 | 1 << 40);
        assert_eq!(mask(None), 0);
    }
}
