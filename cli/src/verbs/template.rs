//! `bulkhead template`: microVMs that have booted already, or started an application.

use std::os::fd::AsFd;
use std::process::ExitCode;

use bulkhead_image::spec::RunOptions;
use bulkhead_microvm::StartFrom;
use bulkhead_microvm::application::{Readiness, Ready};
use bulkhead_microvm::saving::Save;
use bulkhead_microvm::snapshot::{Listed, Snapshot, Snapshots, WorkingSet};
use bulkhead_runtime::{Isolation, SandboxId};

use crate::args::{
    ApplicationArgs, MachineArgs, PrivilegeArgs, ReadyArgs, ReadyChoice, TemplateVerb,
};
use crate::context::{Context, Guest};
use crate::failure::{Failure, chain};
use crate::privileges;
use crate::signals::Signals;
use crate::stdout;
use crate::verbs::kernel;

pub fn run(context: &Context, verb: &TemplateVerb) -> Result<ExitCode, Failure> {
    let templates = context.templates();
    match verb {
        TemplateVerb::Build { machine, application } => {
            let template =
                boot_and_save(context, machine, Some(application), &templates, None)?;
            stdout::line(template.dir().display())?;
        }
        TemplateVerb::Ls { output } => list(&templates, output.is_json())?,
        TemplateVerb::Rm { names } => remove(&templates, names)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Boots a machine to where it waits for work, or until its application is ready, and
/// keeps it.
pub fn boot_and_save(
    context: &Context,
    machine: &MachineArgs,
    application: Option<&ApplicationArgs>,
    into: &Snapshots,
    name: Option<&str>,
) -> Result<Snapshot, Failure> {
    let kernel = kernel::chosen(context, machine.kernel.as_ref(), false)?;
    let signals = Signals::ending()?;
    let image = context.image(&machine.image)?;
    let ready = application.and_then(readiness);
    let (process, privileges) = match application.filter(|_| ready.is_some()) {
        Some(application) => (
            application.process.options(&application.command, application.inside.options()),
            &application.privileges,
        ),
        // Whatever the image would run, it is not run now.
        None => {
            let nothing = RunOptions { args: vec!["true".to_owned()], ..RunOptions::default() };
            (nothing, &PrivilegeArgs::default())
        }
    };
    let options = RunOptions { memory_bytes: machine.memory, ..process };
    let options = privileges::capabilities(privileges, options);
    let root_disk = machine.root_disk.into();
    let bundle = context.bundle(&image, Isolation::MicroVm, root_disk, &options, privileges)?;
    let guest = Guest { kernel: Some(&kernel), root_disk, ..Guest::default() };
    let runtime = context.microvm_from(guest, StartFrom::Kernel)?;
    Ok(runtime.save(&Save {
        id: &SandboxId::random()?,
        bundle: &bundle,
        ready: ready.as_ref(),
        init: application.is_some_and(|application| application.process.init),
        into,
        name,
        label: &machine.image,
        interrupt: Some(signals.as_fd()),
    })?)
}

fn readiness(application: &ApplicationArgs) -> Option<Readiness> {
    let ReadyArgs { ready, ready_port, ready_cmd } = &application.ready;
    let when = match (ready, ready_port, ready_cmd) {
        (Some(ReadyChoice::FirstOutput), ..) => Ready::FirstOutput,
        (Some(ReadyChoice::HandOver), ..) => Ready::HandOver,
        (None, Some(port), _) => Ready::Port(*port),
        (None, None, Some(command)) => Ready::Command(command.clone()),
        (None, None, None) => return None,
    };
    Some(Readiness { when, within: application.ready_within })
}

/// Prints the snapshots of one directory.
pub fn list(snapshots: &Snapshots, json: bool) -> Result<(), Failure> {
    let listed = snapshots.list()?;
    if json {
        let rows = listed.iter().map(row).collect::<Result<Vec<_>, Failure>>()?;
        return stdout::json(&rows);
    }
    stdout::line(format_args!(
        "{:<33} {:<20} {:>10} {:>12}  {:<14} {}",
        "NAME", "IMAGE", "MEMORY", "ON DISK", "READY", "COMMAND"
    ))?;
    for Listed { name, snapshot } in &listed {
        match snapshot {
            Ok(snapshot) => {
                let manifest = &snapshot.manifest;
                let disk = indicatif::BinaryBytes(snapshot.disk_bytes()?).to_string();
                let memory = format!("{} MiB", manifest.fingerprint.memory_mib);
                let label = &manifest.label;
                let application = manifest.application.as_ref();
                let ready = application.map_or("-", |application| &application.ready);
                let command =
                    application.map_or_else(|| "-".to_owned(), |it| it.args.join(" "));
                stdout::line(format_args!(
                    "{name:<33} {label:<20} {memory:>10} {disk:>12}  {ready:<14} {command}"
                ))?;
            }
            Err(error) => {
                stdout::line(format_args!("{name:<33} unusable: {}", chain(error)))?;
            }
        }
    }
    Ok(())
}

fn row(listed: &Listed) -> Result<serde_json::Value, Failure> {
    Ok(match &listed.snapshot {
        Ok(snapshot) => {
            let mut row = description(snapshot)?;
            row["name"] = listed.name.clone().into();
            row
        }
        Err(error) => serde_json::json!({ "name": listed.name, "unusable": chain(error) }),
    })
}

/// What a snapshot is and needs.
pub fn description(snapshot: &Snapshot) -> Result<serde_json::Value, Failure> {
    let manifest = &snapshot.manifest;
    let fingerprint = &manifest.fingerprint;
    let working_set = WorkingSet::load(snapshot.dir()).map(|set| set.bytes());
    Ok(serde_json::json!({
        "image": manifest.label,
        "created_unix_seconds": manifest.created_s,
        "disk_bytes": snapshot.disk_bytes()?,
        "memory_mib": fingerprint.memory_mib,
        "memory_pages": manifest.pages,
        "working_set_copied_bytes": working_set.map(|(copied, _)| copied),
        "working_set_mapped_bytes": working_set.map(|(_, mapped)| mapped),
        "running": manifest.running,
        "command": manifest.application.as_ref().map(|application| &application.args),
        "ready": manifest.application.as_ref().map(|application| &application.ready),
        "hands_over": manifest.application.as_ref().is_some_and(|it| it.hands_over),
        "memory_digest": manifest.memory.hex(),
        "kvm": fingerprint.flavour,
        "protocol": fingerprint.protocol,
        "command_line": fingerprint.command_line,
        "kernel": fingerprint.kernel.path,
        "kernel_digest": fingerprint.kernel.hex(),
        "disk": fingerprint.disk.path,
        "disk_digest": fingerprint.disk.hex(),
    }))
}

/// Removes the snapshots called `names` and says so.
pub fn remove(snapshots: &Snapshots, names: &[String]) -> Result<(), Failure> {
    for name in names {
        snapshots.remove(name)?;
        stdout::line(name)?;
    }
    Ok(())
}
