//! Mounts: options into flags and data.

use std::os::unix::ffi::OsStrExt;

use bulkhead_guest::protocol::Mount;
use oci_spec::runtime::Mount as OciMount;

use super::{ConvertError, c_string};

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

/// Converts `mounts`, leaving out cgroup filesystems: a machine has no cgroups.
pub(super) fn convert_all(mounts: &[OciMount]) -> Result<Vec<Mount>, ConvertError> {
    let is_cgroup = |mount: &&OciMount| matches!(kind(mount), "cgroup" | "cgroup2");
    mounts.iter().filter(|mount| !is_cgroup(mount)).map(convert).collect()
}

fn kind(mount: &OciMount) -> &str {
    mount.typ().as_deref().unwrap_or_default()
}

fn convert(mount: &OciMount) -> Result<Mount, ConvertError> {
    let options = mount.options().as_deref().unwrap_or_default();
    let binds = options.iter().any(|option| option == "bind" || option == "rbind");
    if binds || matches!(kind(mount), "" | "none" | "bind") {
        let what = format!("the host's files mounted on {}", mount.destination().display());
        return Err(ConvertError::Unsupported(what));
    }
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
    })
}
