//! Filesystems of the kernel, and what of them is hidden.

use oci_spec::runtime::{Mount, MountBuilder};

use super::{SpecError, UserNamespace};

/// Group `tty`, by tradition, on every distribution; ptys belong to it.
const TTY_GROUP: u32 = 5;

/// Size of `/dev/shm`, in bytes, as docker has it.
const SHM_BYTES: u64 = 64 << 20;

/// The default filesystems of runtime-spec, "Configuration for Linux"; no
/// cgroup filesystem, which a workload has no business with.
pub(super) fn mounts(
    user_namespace: Option<&UserNamespace>,
    shm_bytes: Option<u64>,
) -> Result<Vec<Mount>, SpecError> {
    let shm_size = format!("size={}", shm_bytes.unwrap_or(SHM_BYTES));
    let mut pts = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    // A group that does not exist inside cannot be an option of a mount.
    if user_namespace.is_none_or(|namespace| namespace.maps_group(TTY_GROUP)) {
        pts.push("gid=5");
    }
    Ok(vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"])?,
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"])?,
        mount("/dev/pts", "devpts", "devpts", &pts)?,
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"])?,
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"])?,
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", &shm_size],
        )?,
    ])
}

fn mount(
    destination: &str,
    kind: &str,
    source: &str,
    options: &[&str],
) -> Result<Mount, SpecError> {
    let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
    Ok(MountBuilder::default()
        .destination(destination)
        .typ(kind)
        .source(source)
        .options(options)
        .build()?)
}

/// What tells about, or reaches, the host (moby, `oci/defaults.go`).
pub(super) fn masked_paths() -> Vec<String> {
    [
        "/proc/asound",
        "/proc/acpi",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
    ]
    .map(str::to_owned)
    .into()
}

/// What changes the host when written to (moby, `oci/defaults.go`).
pub(super) fn read_only_paths() -> Vec<String> {
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        .map(str::to_owned)
        .into()
}
