//! `bulkhead volume`: data that outlives sandboxes.

use std::process::ExitCode;

use bulkhead_image::volume::{Origin, Volume, VolumeError, VolumeFilter, VolumeName, Volumes};

use crate::args::{CreateVolumeArgs, VolumeVerb};
use crate::context::Context;
use crate::failure::Failure;
use crate::stdout;

pub fn run(context: &Context, verb: &VolumeVerb) -> Result<ExitCode, Failure> {
    let volumes = context.store().volumes();
    match verb {
        VolumeVerb::Create(args) => create(&volumes, args),
        VolumeVerb::Ls { filter, quiet, output } => {
            list(&volumes, filter, *quiet, output.is_json())
        }
        VolumeVerb::Rm { force, names } => remove(&volumes, names, *force),
        VolumeVerb::Inspect { names } => inspect(&volumes, names),
        VolumeVerb::Prune { all, filter, .. } => prune(&volumes, *all, filter),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn create(volumes: &Volumes, args: &CreateVolumeArgs) -> Result<(), Failure> {
    let labels = args.label.iter().map(|label| {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        (key.to_owned(), value.to_owned())
    });
    let (name, origin) = match &args.name {
        Some(name) => (name.clone(), Origin::Named),
        None => (VolumeName::random()?, Origin::Anonymous),
    };
    volumes.create(&name, labels.collect(), origin, None)?;
    Ok(stdout::line(name)?)
}

/// Those that pass all filters.
fn matching(volumes: &Volumes, filter: &[String]) -> Result<Vec<(Volume, bool)>, Failure> {
    let filter = VolumeFilter::parse(filter)?;
    let mut found = Vec::new();
    for volume in volumes.list()? {
        // We hold it ourselves, which is not to count.
        let name = volume.name().clone();
        drop(volume);
        let used = match volumes.is_used(&name) {
            Err(VolumeError::NotFound(_)) => continue,
            other => other?,
        };
        let volume = volumes.open(&name)?;
        if filter.passes(&volume, used) {
            found.push((volume, used));
        }
    }
    Ok(found)
}

fn as_json(volume: &Volume, used: bool) -> serde_json::Value {
    let record = volume.record();
    serde_json::json!({
        "name": volume.name().as_str(),
        "mountpoint": volume.data(),
        "created": record.created,
        "labels": record.labels,
        "origin": record.origin,
        "in_use": used,
    })
}

fn list(volumes: &Volumes, filter: &[String], quiet: bool, json: bool) -> Result<(), Failure> {
    let found = matching(volumes, filter)?;
    if json {
        let rows: Vec<_> = found.iter().map(|(volume, used)| as_json(volume, *used)).collect();
        return stdout::json(&rows);
    }
    if !quiet {
        stdout::line(format_args!("{:<24} {:<8} LABELS", "NAME", "IN USE"))?;
    }
    for (volume, used) in &found {
        let name = volume.name().as_str();
        if quiet {
            stdout::line(name)?;
            continue;
        }
        let labels = &volume.record().labels;
        let labels: Vec<_> =
            labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let used = if *used { "yes" } else { "no" };
        stdout::line(
            format_args!("{name:<24} {used:<8} {}", labels.join(",")).to_string().trim_end(),
        )?;
    }
    Ok(())
}

fn remove(volumes: &Volumes, names: &[VolumeName], force: bool) -> Result<(), Failure> {
    for name in names {
        match volumes.remove(name) {
            Err(VolumeError::NotFound(_)) if force => continue,
            Err(error @ VolumeError::InUse(_)) => {
                return Err(Failure::new(error).hint("stop the sandbox that uses it first"));
            }
            other => other?,
        }
        stdout::line(name)?;
    }
    Ok(())
}

fn inspect(volumes: &Volumes, names: &[VolumeName]) -> Result<(), Failure> {
    let mut all = Vec::new();
    for name in names {
        let used = volumes.is_used(name)?;
        all.push(as_json(&volumes.open(name)?, used));
    }
    stdout::json(&all)
}

fn prune(volumes: &Volumes, all: bool, filter: &[String]) -> Result<(), Failure> {
    for (volume, used) in matching(volumes, filter)? {
        if used || (volume.record().origin == Origin::Named && !all) {
            continue;
        }
        let name = volume.name().clone();
        drop(volume);
        match volumes.remove(&name) {
            // Somebody else was quicker.
            Err(VolumeError::InUse(_) | VolumeError::NotFound(_)) => {}
            other => {
                other?;
                stdout::line(name)?;
            }
        }
    }
    Ok(())
}
