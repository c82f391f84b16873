//! Templates: snapshots of machines whose PID 1 waits for work, found by what the
//! machine is made of.

use bulkhead_kernels::KvmFlavour;

use crate::config::{Console, MicroVmConfig, StartFrom};
use crate::monitor::config::MonitorConfig;
use crate::snapshot::{DeviceSet, Listed, Snapshot, SnapshotError, Snapshots, Wanted};

/// The machine that `config` describes.
pub(crate) fn wanted(config: &MonitorConfig) -> Wanted<'_> {
    Wanted {
        flavour: KvmFlavour::detect(),
        kernel: &config.kernel,
        command_line: &config.command_line,
        disk: &config.disk,
        memory_mib: config.memory_mib,
        devices: DeviceSet {
            root_disk: config.root_disk,
            rng: config.entropy_device,
            balloon: config.balloon,
        },
    }
}

/// The snapshot that the machine in `config` is to go on from; `None` to boot it.
pub(crate) fn choose(
    runtime: &MicroVmConfig,
    config: &MonitorConfig,
) -> Result<Option<Snapshot>, SnapshotError> {
    let wanted = wanted(config);
    let dir = match &runtime.start {
        StartFrom::Kernel => return Ok(None),
        // Whoever wants to read a kernel's messages wants to see it boot.
        StartFrom::Template(_) if runtime.console == Console::Always => return Ok(None),
        StartFrom::Template(templates) => match templates.path(&wanted.key()?)? {
            dir if dir.is_dir() => dir,
            _ => return Ok(None),
        },
        StartFrom::Snapshot(dir) => dir.clone(),
    };
    let snapshot = Snapshot::open(&dir)?;
    snapshot.manifest.fingerprint.check(&wanted)?;
    Ok(Some(snapshot))
}

/// Removes the templates that no machine can find any more, because the kernel or
/// the disk they were made with is gone; returns their names.
///
/// # Errors
///
/// [`SnapshotError`].
pub fn collect_garbage(
    templates: &Snapshots,
    dry_run: bool,
) -> Result<Vec<String>, SnapshotError> {
    let mut removed = Vec::new();
    for Listed { name, snapshot } in templates.list()? {
        let current = snapshot.is_ok_and(|template| {
            let made = &template.manifest.fingerprint;
            let again = Wanted {
                flavour: made.flavour,
                kernel: &made.kernel.path,
                command_line: &made.command_line,
                disk: &made.disk.path,
                memory_mib: made.memory_mib,
                devices: made.devices,
            };
            again.key().is_ok_and(|key| key == name)
        });
        if !current {
            if !dry_run {
                templates.remove(&name)?;
            }
            removed.push(name);
        }
    }
    if !dry_run {
        templates.collect_garbage()?;
    }
    Ok(removed)
}
