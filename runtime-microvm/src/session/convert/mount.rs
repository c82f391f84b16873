//! Mounts: options into flags and data.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bulkhead_guest::protocol::{Mount, SHARES, SHARES_TAG};
use oci_spec::runtime::Mount as OciMount;

use super::{ConvertError, c_string};
use crate::files::Share;

/// An option's effect on the flags.
enum Effect {
    Set(u64),
    Clear(u64),
    /// Says how mounts travel between namespaces; the guest has no other.
    Nothing,
}

/// Options that are flags of mount(2) (runtime-spec, "Linux mount options").
fn effect(option: &str) -> Option<Effect> {
    Some(match option {
        "ro" => Effect::Set(libc::MS_RDONLY),
        "rw" => Effect::Clear(libc::MS_RDONLY),
        "nosuid" => Effect::Set(libc::MS_NOSUID),
        "suid" => Effect::Clear(libc::MS_NOSUID),
        "nodev" => Effect::Set(libc::MS_NODEV),
        "dev" => Effect::Clear(libc::MS_NODEV),
        "noexec" => Effect::Set(libc::MS_NOEXEC),
        "exec" => Effect::Clear(libc::MS_NOEXEC),
        "sync" => Effect::Set(libc::MS_SYNCHRONOUS),
        "async" => Effect::Clear(libc::MS_SYNCHRONOUS),
        "dirsync" => Effect::Set(libc::MS_DIRSYNC),
        "noatime" => Effect::Set(libc::MS_NOATIME),
        "atime" => Effect::Clear(libc::MS_NOATIME),
        "nodiratime" => Effect::Set(libc::MS_NODIRATIME),
        "diratime" => Effect::Clear(libc::MS_NODIRATIME),
        "relatime" => Effect::Set(libc::MS_RELATIME),
        "norelatime" => Effect::Clear(libc::MS_RELATIME),
        "strictatime" => Effect::Set(libc::MS_STRICTATIME),
        "nostrictatime" => Effect::Clear(libc::MS_STRICTATIME),
        "silent" => Effect::Set(libc::MS_SILENT),
        "loud" => Effect::Clear(libc::MS_SILENT),
        "defaults" | "private" | "rprivate" | "slave" | "rslave" | "shared" | "rshared"
        | "unbindable" | "runbindable" => Effect::Nothing,
        _ => return None,
    })
}

/// Filesystems that the kernel of a machine may well be built without; a
/// workload that needs one will say so.
const OPTIONAL: [&str; 2] = ["mqueue", "devpts"];

/// What of `mounts` is of the host, in their order.
pub(super) fn shares(mounts: &[OciMount]) -> Vec<Share> {
    let share = |mount: &OciMount| {
        let options = mount.options().as_deref().unwrap_or_default();
        let read_only = |read_only, option: &String| match option.as_str() {
            "ro" | "rro" => true,
            "rw" | "rrw" => false,
            _ => read_only,
        };
        Share {
            path: mount.source().clone().unwrap_or_default(),
            read_only: options.iter().fold(false, read_only),
        }
    };
    mounts.iter().filter(|mount| is_bind(mount)).map(share).collect()
}

fn is_bind(mount: &OciMount) -> bool {
    let options = mount.options().as_deref().unwrap_or_default();
    let binds = options.iter().any(|option| option == "bind" || option == "rbind");
    binds || matches!(kind(mount), "" | "none" | "bind")
}

/// Converts `mounts`, leaving out cgroup filesystems: a machine has no cgroups.
pub(super) fn convert_all(mounts: &[OciMount]) -> Result<Vec<Mount>, ConvertError> {
    let is_cgroup = |mount: &&OciMount| matches!(kind(mount), "cgroup" | "cgroup2");
    let mut converted = Vec::new();
    let mut shares = 0;
    for mount in mounts.iter().filter(|mount| !is_cgroup(mount)) {
        if !is_bind(mount) {
            converted.push(convert(mount)?);
            continue;
        }
        if shares == 0 {
            converted.push(all_shares());
        }
        converted.push(convert_bind(mount, shares)?);
        shares += 1;
    }
    Ok(converted)
}

fn kind(mount: &OciMount) -> &str {
    mount.typ().as_deref().unwrap_or_default()
}

/// All that is shared: a directory in which each share has its number.
fn all_shares() -> Mount {
    Mount {
        fstype: c"virtiofs".to_owned(),
        source: CString::new(SHARES_TAG).unwrap_or_default(),
        target: SHARES.to_owned(),
        flags: libc::MS_NOSUID | libc::MS_NODEV,
        ..Mount::default()
    }
}

/// One of the shares, from there to its place.
fn convert_bind(mount: &OciMount, index: usize) -> Result<Mount, ConvertError> {
    let source = mount.source().as_deref().unwrap_or(Path::new(""));
    let mut flags = libc::MS_BIND | libc::MS_REC;
    for option in mount.options().as_deref().unwrap_or_default() {
        let option = match option.as_str() {
            "bind" | "rbind" => continue,
            "rro" => "ro",
            "rrw" => "rw",
            option => option,
        };
        match effect(option) {
            Some(Effect::Set(flag)) => flags |= flag,
            Some(Effect::Clear(flag)) => flags &= !flag,
            Some(Effect::Nothing) => {}
            None => {
                let place = mount.destination().display();
                let what = format!("the host's files mounted on {place} with `{option}`");
                return Err(ConvertError::Unsupported(what));
            }
        }
    }
    let place = format!("{}/{index}", SHARES.to_string_lossy());
    Ok(Mount {
        source: c_string("source of a mount", place.as_bytes())?,
        target: c_string("destination of a mount", mount.destination().as_os_str().as_bytes())?,
        flags,
        is_file: source.is_file(),
        ..Mount::default()
    })
}

fn convert(mount: &OciMount) -> Result<Mount, ConvertError> {
    let options = mount.options().as_deref().unwrap_or_default();
    let mut flags = 0;
    let mut data: Vec<&str> = Vec::new();
    for option in options {
        match effect(option) {
            Some(Effect::Set(flag)) => flags |= flag,
            Some(Effect::Clear(flag)) => flags &= !flag,
            Some(Effect::Nothing) => {}
            None => data.push(option),
        }
    }
    let kind = kind(mount);
    let source =
        mount.source().as_ref().map_or(kind.as_bytes(), |source| source.as_os_str().as_bytes());
    Ok(Mount {
        fstype: c_string("type of a mount", kind.as_bytes())?,
        source: c_string("source of a mount", source)?,
        target: c_string("destination of a mount", mount.destination().as_os_str().as_bytes())?,
        flags,
        data: c_string("option of a mount", data.join(",").as_bytes())?,
        optional: OPTIONAL.contains(&kind),
        is_file: false,
    })
}
