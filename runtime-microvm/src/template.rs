//! Templates: snapshots of machines whose PID 1 waits for work, or whose application
//! does, found by what they are made of.

use std::path::{Path, PathBuf};

use bulkhead_guest::protocol::Start;
use bulkhead_kernels::KvmFlavour;

use crate::application::{self, Ready};
use crate::config::{Console, MicroVmConfig, StartFrom};
use crate::monitor::config::MonitorConfig;
use crate::snapshot::{
    DeviceSet, Incoming, Listed, Snapshot, SnapshotError, Snapshots, Wanted,
};

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
            card: config.card,
            shares: config.shares,
        },
    }
}

/// The machine that templates for `config` are of: every one of them has a network card
/// and a device for files of the host, which a clone without either leaves alone.
pub(crate) fn template_for(config: &MonitorConfig) -> Wanted<'_> {
    let wanted = wanted(config);
    Wanted { devices: DeviceSet { card: true, shares: true, ..wanted.devices }, ..wanted }
}

/// The name of the template of a machine: as it waits for work, or with an application
/// in it that is ready.
pub(crate) fn name(
    wanted: &Wanted<'_>,
    application: Option<(&Start, &Ready)>,
) -> Result<String, SnapshotError> {
    let machine = wanted.key()?;
    match application {
        None => Ok(machine),
        Some((start, ready)) => Ok(joined(&machine, &application::key(start, ready)?)),
    }
}

fn joined(machine: &str, application: &str) -> String {
    format!("{machine}-{application}")
}

/// Whether a template called `name` is of the machine with this key.
fn is_of(name: &str, machine: &str) -> bool {
    name.strip_prefix(machine).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// The template that fits best: with the application in it that `start` asks for, or
/// without any.
fn find(
    templates: &Snapshots,
    machine: &str,
    start: &Start,
) -> Result<Option<PathBuf>, SnapshotError> {
    let application = find_application(templates, machine, start)?;
    if application.is_some() {
        return Ok(application);
    }
    Ok(Some(templates.path(machine)?).filter(|dir| dir.is_dir()))
}

/// The template with the application in it that `start` asks for.
fn find_application(
    templates: &Snapshots,
    machine: &str,
    start: &Start,
) -> Result<Option<PathBuf>, SnapshotError> {
    for application in application::fitting(start)? {
        let dir = templates.path(&joined(machine, &application))?;
        if dir.is_dir() {
            return Ok(Some(dir));
        }
    }
    Ok(None)
}

/// Whether `start` has a template of its own in which its application is.
pub(crate) fn has_application(
    templates: &Snapshots,
    config: &MonitorConfig,
    start: &Start,
) -> Result<bool, SnapshotError> {
    Ok(find_application(templates, &template_for(config).key()?, start)?.is_some())
}

/// The template of the machine in `config` that waits for work.
pub(crate) fn waiting(
    templates: &Snapshots,
    config: &MonitorConfig,
) -> Result<Option<Snapshot>, SnapshotError> {
    let wanted = template_for(config);
    let dir = templates.path(&wanted.key()?)?;
    if dir.is_dir() { open(&dir, &wanted).map(Some) } else { Ok(None) }
}

fn open(dir: &Path, wanted: &Wanted<'_>) -> Result<Snapshot, SnapshotError> {
    let snapshot = Snapshot::open(dir)?;
    snapshot.manifest.fingerprint.check(wanted)?;
    Ok(snapshot)
}

/// The snapshot that the machine in `config`, which is to run `start`, is to go on
/// from; `None` to boot it.
pub(crate) fn choose(
    runtime: &MicroVmConfig,
    config: &MonitorConfig,
    start: &Start,
) -> Result<Option<Snapshot>, SnapshotError> {
    let wanted = wanted(config);
    let dir = match &runtime.start {
        StartFrom::Kernel => None,
        // Whoever wants to read a kernel's messages wants to see it boot.
        StartFrom::Template(_) if runtime.console == Console::Always => None,
        StartFrom::Template(templates) => find(templates, &template_for(config).key()?, start)?,
        StartFrom::Snapshot(dir) => Some(dir.clone()),
    };
    dir.map(|dir| open(&dir, &wanted)).transpose()
}

/// What a template from elsewhere, which was called `was` there, is called here.
///
/// # Errors
///
/// When its kernel or disk is not there.
pub fn name_of(incoming: &Incoming, was: &str) -> Result<String, SnapshotError> {
    let machine = Wanted::from(incoming.fingerprint()).key()?;
    Ok(match was.split_once('-') {
        Some((_, application)) => joined(&machine, application),
        None => machine,
    })
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
            let again = Wanted::from(&template.manifest.fingerprint);
            again.key().is_ok_and(|key| is_of(&name, &key))
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
