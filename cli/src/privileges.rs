//! What a workload may do beyond, or short of, the default: capabilities and the
//! system call filter, in docker's words.

use std::fs;
use std::path::Path;

use bulkhead_container::capability_number;
use bulkhead_container::seccomp::profile_for;
use bulkhead_image::spec::RunOptions;
use bulkhead_runtime::Isolation;
use oci_spec::runtime::{Capabilities, LinuxSeccomp, Spec};

use crate::args::PrivilegeArgs;

/// A privilege that cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// A filter for a workload that makes no system calls of the host.
    #[error("--seccomp is for containers: a microVM's workload has a kernel of its own")]
    NoFilter,
    /// The profile cannot be read.
    #[error("cannot read the seccomp profile {path}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The profile is not one.
    #[error("{path} is not a seccomp profile (`linux.seccomp` of the runtime-spec)")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The profile has rules that depend on what only docker knows.
    #[error(
        "{path} has `{key}`, which belongs to docker's own format, not to `linux.seccomp` of \
         the runtime-spec; leaving it out would let more through than it says"
    )]
    Dockers {
        /// The file.
        path: String,
        /// The key.
        key: &'static str,
    },
}

/// The options with these capabilities.
pub fn capabilities(args: &PrivilegeArgs, options: RunOptions) -> RunOptions {
    RunOptions { cap_add: args.cap_add.clone(), cap_drop: args.cap_drop.clone(), ..options }
}

/// Fits `spec` to this host: of `ALL` capabilities a container gets those that
/// its maker has, and it gets its filter.
pub fn apply(
    args: &PrivilegeArgs,
    isolation: Isolation,
    spec: &mut Spec,
) -> Result<(), PrivilegeError> {
    let all = args.cap_add.iter().any(|name| name.eq_ignore_ascii_case("all"));
    if isolation == Isolation::Container && all {
        keep_what_there_is(spec, own_capabilities());
    }
    filter(args, isolation, spec)
}

/// What this process could hand on: numbers of capabilities.
fn own_capabilities() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let bounding = lines.find_map(|line| line.strip_prefix("CapBnd:"));
    let mask = bounding.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    mask.unwrap_or(u64::MAX)
}

/// Leaves only the capabilities of `mask` in the sets of `spec`.
fn keep_what_there_is(spec: &mut Spec, mask: u64) {
    let Some(process) = spec.process_mut() else { return };
    let Some(mut sets) = process.capabilities().clone() else { return };
    let there = |set: &Option<Capabilities>| {
        let set = set.iter().flatten();
        let kept = set.filter(|capability| mask & (1 << capability_number(**capability)) != 0);
        Some(kept.copied().collect())
    };
    let (bounding, effective, permitted) =
        (there(sets.bounding()), there(sets.effective()), there(sets.permitted()));
    sets.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
    process.set_capabilities(Some(sets));
}

/// Puts the filter into `spec`. The default one is for containers only, and opens
/// what the capabilities in `spec` are useless without.
fn filter(
    args: &PrivilegeArgs,
    isolation: Isolation,
    spec: &mut Spec,
) -> Result<(), PrivilegeError> {
    let filter = match (isolation, args.seccomp.as_deref()) {
        (Isolation::Container, None | Some("default")) => {
            let process = spec.process().as_ref();
            let capabilities = process.and_then(|process| process.capabilities().as_ref());
            let bounding = capabilities.and_then(|sets| sets.bounding().clone());
            Some(profile_for(&bounding.unwrap_or_default()))
        }
        (Isolation::Container, Some("unconfined")) | (_, None) => None,
        (Isolation::Container, Some(path)) => Some(read(Path::new(path))?),
        (_, Some(_)) => return Err(PrivilegeError::NoFilter),
    };
    if let Some(linux) = spec.linux_mut() {
        linux.set_seccomp(filter);
    }
    Ok(())
}

fn read(path: &Path) -> Result<LinuxSeccomp, PrivilegeError> {
    let name = || path.display().to_string();
    let text =
        fs::read(path).map_err(|source| PrivilegeError::Unreadable { path: name(), source })?;
    parse(&text, &name())
}

fn parse(text: &[u8], path: &str) -> Result<LinuxSeccomp, PrivilegeError> {
    let malformed = |source| PrivilegeError::Malformed { path: path.to_owned(), source };
    let value: serde_json::Value = serde_json::from_slice(text).map_err(malformed)?;
    let rules = value["syscalls"].as_array().map(Vec::as_slice).unwrap_or_default();
    let meant = |value: &serde_json::Value| match value {
        serde_json::Value::Null => false,
        serde_json::Value::Object(fields) => !fields.is_empty(),
        serde_json::Value::Array(items) => !items.is_empty(),
        _ => true,
    };
    for key in ["includes", "excludes"] {
        if rules.iter().any(|rule| meant(&rule[key])) {
            return Err(PrivilegeError::Dockers { path: path.to_owned(), key });
        }
    }
    serde_json::from_value(value).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_the_runtime_specs() {
        let text = br#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "includes": {}}]}"#;
        let profile = parse(text, "p").unwrap();
        assert_eq!(profile.syscalls().as_ref().unwrap()[0].names(), &["mkdir"]);
    }

    #[test]
    fn all_is_what_this_process_has() {
        use oci_spec::runtime::{Capability, LinuxCapabilitiesBuilder, ProcessBuilder};
        let both = Capabilities::from([Capability::Chown, Capability::SysResource]);
        let sets = LinuxCapabilitiesBuilder::default().bounding(both.clone()).effective(both);
        let sets = sets.build().unwrap();
        let process = ProcessBuilder::default().capabilities(sets).build().unwrap();
        let mut spec = Spec::default();
        spec.set_process(Some(process));
        keep_what_there_is(&mut spec, 1);
        let process = spec.process().as_ref().unwrap();
        let sets = process.capabilities().as_ref().unwrap();
        let chown = Some(Capabilities::from([Capability::Chown]));
        assert_eq!((sets.bounding(), sets.effective()), (&chown, &chown));
    }

    #[test]
    fn what_is_none_is_refused() {
        assert!(matches!(parse(b"{", "p"), Err(PrivilegeError::Malformed { .. })));
        assert!(matches!(parse(b"[]", "p"), Err(PrivilegeError::Malformed { .. })));
        let dockers = br#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}}]}"#;
        let refused = parse(dockers, "p");
        assert!(matches!(refused, Err(PrivilegeError::Dockers { key: "includes", .. })));
        let nowhere = read(Path::new("/nonexistent"));
        assert!(matches!(nowhere, Err(PrivilegeError::Unreadable { .. })));
    }
}
