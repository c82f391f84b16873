//! Seccomp profiles: the default one, and turning any into BPF programs.
//!
//! A profile becomes a small stack of filters. The first decides by number
//! alone (`numbers`); those after it look at arguments (`conditions`, built
//! with seccompiler). The kernel asks all of them and takes the strictest
//! answer. Keeping arguments out of the first makes its answer for nearly every
//! call a constant, which the kernel finds out once and keeps in a bitmap, so
//! that most system calls of a container never run a filter.
//!
//! Only x86-64 calls are known: those of the 32-bit and x32 interfaces end the
//! process or do not exist.

mod conditions;
mod numbers;
mod profile;
mod syscalls;

use std::collections::BTreeMap;

use libc::sock_filter;
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompFilterFlag as Flag,
    LinuxSyscall,
};
use seccompiler::SeccompAction;

use conditions::Conjunction;
pub use profile::{default_capabilities, default_profile, profile_for};

/// A profile that cannot be turned into filters.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// The action hands the decision to another process.
    #[error("action {0} needs a process that answers it, which containers here do not have")]
    Action(String),
    /// The flag is not supported.
    #[error("flag {0} is not supported")]
    Flag(String),
    /// The profile is for other machines.
    #[error("the profile does not list SCMP_ARCH_X86_64")]
    Architecture,
    /// A system call has no arguments beyond the sixth.
    #[error("`{syscall}`: there is no argument {index}")]
    Argument {
        /// The system call.
        syscall: String,
        /// The index in the profile.
        index: usize,
    },
    /// A masked comparison without a value to compare with.
    #[error("`{0}`: a masked comparison has no second value")]
    MaskWithoutValue(String),
    /// The conditions of one call are too many.
    #[error("system call {0}: the conditions are too many to combine")]
    TooComplex(u32),
    /// The library refused.
    #[error("compiling the filter")]
    Compiler(#[from] seccompiler::BackendError),
}

/// What the kernel is given.
#[derive(Debug, Clone)]
pub(crate) struct Compiled {
    /// In the order of installation.
    pub programs: Vec<Vec<sock_filter>>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
}

/// What a profile says about one system call.
#[derive(Debug, Default)]
struct Verdict {
    /// Whatever the arguments.
    always: Option<SeccompAction>,
    /// If the arguments are so.
    when: Vec<(SeccompAction, Conjunction)>,
}

/// Compiles `profile`. Where several rules apply to a call, the strictest
/// action counts.
pub(crate) fn compile(profile: &LinuxSeccomp) -> Result<Compiled, SeccompError> {
    if let Some(list) = profile.architectures().as_ref().filter(|list| !list.is_empty())
        && !list.iter().any(|arch| matches!(arch, Arch::ScmpArchX86_64 | Arch::ScmpArchNative))
    {
        return Err(SeccompError::Architecture);
    }
    if profile.listener_path().is_some() {
        return Err(SeccompError::Action("SCMP_ACT_NOTIFY".into()));
    }
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let mut verdicts: BTreeMap<u32, Verdict> = BTreeMap::new();
    for rule in profile.syscalls().iter().flatten() {
        add(rule, &mut verdicts)?;
    }

    let mut by_number = BTreeMap::new();
    let mut by_argument = conditions::Filters::default();
    for (number, verdict) in verdicts {
        if verdict.always.is_none() && default != SeccompAction::Allow {
            let conjunctions = verdict.when.iter().map(|(_, conjunction)| conjunction);
            let otherwise = conditions::negate(conjunctions, number)?;
            by_argument.add(&default, number, otherwise);
        }
        for (action, conjunction) in verdict.when {
            if action != SeccompAction::Allow {
                by_argument.add(&action, number, vec![conjunction]);
            }
        }
        by_number.insert(number, verdict.always.unwrap_or(SeccompAction::Allow));
    }
    let mut programs = vec![numbers::program(&by_number, &default)];
    programs.extend(by_argument.compile()?);
    Ok(Compiled { programs, flags: flags(profile)? })
}

fn add(rule: &LinuxSyscall, verdicts: &mut BTreeMap<u32, Verdict>) -> Result<(), SeccompError> {
    let action = action(rule.action(), rule.errno_ret())?;
    for name in rule.names() {
        // A profile names calls of all architectures.
        let Some(number) = syscalls::number(name) else { continue };
        let verdict = verdicts.entry(number).or_default();
        match rule.args().as_ref().filter(|args| !args.is_empty()) {
            None => {
                let stricter = match verdict.always.take() {
                    Some(other) if severity(&other) > severity(&action) => other,
                    _ => action.clone(),
                };
                verdict.always = Some(stricter);
            }
            Some(args) => {
                let conjunction = conditions::conjunction(name, args)?;
                verdict.when.push((action.clone(), conjunction));
            }
        }
    }
    Ok(())
}

/// Order of the kernel's own (seccomp(2), "SECCOMP_RET_*").
fn severity(action: &SeccompAction) -> u8 {
    match action {
        SeccompAction::Allow => 0,
        SeccompAction::Log => 1,
        SeccompAction::Trace(_) => 2,
        SeccompAction::Errno(_) => 3,
        SeccompAction::Trap => 4,
        SeccompAction::KillThread => 5,
        SeccompAction::KillProcess => 6,
    }
}

fn action(action: Action, errno: Option<u32>) -> Result<SeccompAction, SeccompError> {
    Ok(match action {
        Action::ScmpActAllow => SeccompAction::Allow,
        Action::ScmpActLog => SeccompAction::Log,
        // EPERM is the spec's default ("errnoRet").
        Action::ScmpActErrno => {
            SeccompAction::Errno(errno.unwrap_or(libc::EPERM.cast_unsigned()))
        }
        Action::ScmpActTrap => SeccompAction::Trap,
        Action::ScmpActKill | Action::ScmpActKillThread => SeccompAction::KillThread,
        Action::ScmpActKillProcess => SeccompAction::KillProcess,
        Action::ScmpActTrace | Action::ScmpActNotify => {
            return Err(SeccompError::Action(format!("{action:?}")));
        }
    })
}

fn flags(profile: &LinuxSeccomp) -> Result<u32, SeccompError> {
    let mut flags = 0;
    for flag in profile.flags().iter().flatten() {
        let bit = match flag {
            Flag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
            Flag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            // The workload has a single thread when its filter is installed.
            Flag::SeccompFilterFlagTsync => 0,
            Flag::SeccompFilterFlagWaitKillableRecv => {
                return Err(SeccompError::Flag(format!("{flag:?}")));
            }
        };
        flags |= u32::try_from(bit).unwrap_or(0);
    }
    Ok(flags)
}

#[cfg(test)]
mod tests;
