//! Fields of the spec that this wall does not carry out.
//!
//! Each is refused by name: a field that is silently ignored is a limit or a
//! wall its author believes in and does not have.

use oci_spec::runtime::{LinuxResources, Mount, Process, Spec};

use super::{Namespaces, SpecError};

/// Refuses a spec with a field that is not implemented.
pub(super) fn unsupported(spec: &Spec) -> Result<(), SpecError> {
    let mut refused = Vec::new();
    if let Some(hooks) = spec.hooks() {
        let any = [
            hooks.create_runtime(),
            hooks.create_container(),
            hooks.start_container(),
            hooks.poststart(),
            hooks.poststop(),
        ]
        .into_iter()
        .flatten()
        .any(|list| !list.is_empty());
        refused.push((any, "hooks"));
    }
    refused.push((spec.vm().is_some(), "vm"));
    if let Some(linux) = spec.linux() {
        refused.extend([
            (named(linux.mount_label()), "linux.mountLabel"),
            (linux.intel_rdt().is_some(), "linux.intelRdt"),
            (linux.memory_policy().is_some(), "linux.memoryPolicy"),
            (linux.personality().is_some(), "linux.personality"),
            (linux.time_offsets().as_ref().is_some_and(|m| !m.is_empty()), "linux.timeOffsets"),
            (linux.net_devices().as_ref().is_some_and(|m| !m.is_empty()), "linux.netDevices"),
        ]);
        if let Some(resources) = linux.resources() {
            refused.extend(unsupported_resources(resources));
        }
    }
    first(&refused)?;
    spec.process().as_ref().map_or(Ok(()), unsupported_process)
}

/// Refuses what cannot be made before the request for the container, or would not
/// mean the same then.
pub(super) fn ahead(spec: &Spec, namespaces: &Namespaces) -> Result<(), SpecError> {
    if namespaces.user {
        // Whoever completes it would have to become root of a namespace that is not
        // of its making.
        return Err(SpecError::Ahead("a user namespace (be root)"));
    }
    if namespaces.enters_any() {
        return Err(SpecError::Ahead("entering an existing namespace"));
    }
    let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
    if path.is_some_and(|path| !path.as_os_str().is_empty()) {
        return Err(SpecError::Ahead("a cgroup of a given name"));
    }
    // What is at the source may be another thing by the time of the request.
    let bind = |mount: &Mount| {
        let mut options = mount.options().iter().flatten();
        mount.typ().as_deref() == Some("bind")
            || options.any(|option| option == "bind" || option == "rbind")
    };
    if spec.mounts().iter().flatten().any(bind) {
        return Err(SpecError::Ahead("a mount of the host"));
    }
    Ok(())
}

/// Refuses a process with a field that is not implemented.
pub(super) fn unsupported_process(process: &Process) -> Result<(), SpecError> {
    first(&[
        (named(process.apparmor_profile()), "process.apparmorProfile"),
        (named(process.selinux_label()), "process.selinuxLabel"),
        (process.io_priority().is_some(), "process.ioPriority"),
        (process.scheduler().is_some(), "process.scheduler"),
        (process.exec_cpu_affinity().is_some(), "process.execCPUAffinity"),
    ])
}

fn unsupported_resources(resources: &LinuxResources) -> Vec<(bool, &'static str)> {
    let mut refused = vec![
        (
            resources.block_io().as_ref().is_some_and(|limits| {
                limits.leaf_weight().is_some() || limits.weight_device().is_some()
            }),
            "linux.resources.blockIO.weightDevice",
        ),
        (
            resources.hugepage_limits().as_ref().is_some_and(|list| !list.is_empty()),
            "linux.resources.hugepageLimits",
        ),
        (resources.network().is_some(), "linux.resources.network"),
        (resources.rdma().as_ref().is_some_and(|map| !map.is_empty()), "linux.resources.rdma"),
    ];
    if let Some(cpu) = resources.cpu() {
        let realtime = cpu.realtime_runtime().is_some() || cpu.realtime_period().is_some();
        refused.push((realtime, "linux.resources.cpu.realtimeRuntime"));
    }
    if let Some(memory) = resources.memory() {
        refused.extend([
            (
                memory.disable_oom_killer() == Some(true),
                "linux.resources.memory.disableOOMKiller",
            ),
            (memory.kernel().is_some(), "linux.resources.memory.kernel"),
            (memory.kernel_tcp().is_some(), "linux.resources.memory.kernelTCP"),
        ]);
    }
    refused
}

fn named(label: &Option<String>) -> bool {
    label.as_ref().is_some_and(|label| !label.is_empty())
}

fn first(refused: &[(bool, &str)]) -> Result<(), SpecError> {
    match refused.iter().find(|(asked, _)| *asked) {
        Some((_, field)) => Err(SpecError::Unsupported((*field).to_owned())),
        None => Ok(()),
    }
}
