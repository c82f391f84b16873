//! `bulkhead snapshot`: microVMs kept under a name.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use bulkhead_image::{NewArtifact, NoProgress};
use bulkhead_microvm::StartFrom;
use bulkhead_microvm::snapshot::{Incoming, Snapshot, SnapshotError, Snapshots};
use bulkhead_microvm::template;

use crate::args::SnapshotVerb;
use crate::context::{Context, Guest};
use crate::failure::Failure;
use crate::stdout;
use crate::verbs::template::{boot_and_save, description, list, remove};

/// Types of the artifacts, and of their parts.
const SNAPSHOT: &str = "application/vnd.bulkhead.snapshot.v1";
const TEMPLATE: &str = "application/vnd.bulkhead.template.v1";
const STATE: &str = "application/vnd.bulkhead.snapshot.state.v1";
const MEMORY: &str = "application/vnd.bulkhead.snapshot.memory.v1+zstd";

pub fn run(context: &Context, verb: &SnapshotVerb) -> Result<ExitCode, Failure> {
    let snapshots = context.snapshots();
    match verb {
        SnapshotVerb::Create { name, machine } => {
            // Before the boot, which takes its time.
            refuse_taken(&snapshots, name)?;
            let snapshot = boot_and_save(context, machine, None, &snapshots, Some(name))?;
            stdout::line(snapshot.dir().display())?;
        }
        SnapshotVerb::Take { name, sandbox } => {
            let sandbox = &context.instances().sandbox(sandbox)?;
            refuse_taken(&snapshots, name)?;
            let runtime = context.microvm_from(Guest::default(), StartFrom::Kernel)?;
            let snapshot = runtime.save_running(sandbox, &snapshots, name)?;
            stdout::line(snapshot.dir().display())?;
        }
        SnapshotVerb::Ls { output } => list(&snapshots, output.is_json())?,
        SnapshotVerb::Rm { names } => remove(&snapshots, names)?,
        SnapshotVerb::Export { name, path } => export(context, name, path)?,
        SnapshotVerb::Import { path, name } => {
            let snapshot = import(context, path, name.as_deref())?;
            stdout::line(snapshot.dir().display())?;
        }
        SnapshotVerb::Inspect { name } => inspect(context, name)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn refuse_taken(snapshots: &Snapshots, name: &str) -> Result<(), SnapshotError> {
    if snapshots.path(name)?.exists() {
        return Err(SnapshotError::Exists(name.to_owned()));
    }
    Ok(())
}

/// A snapshot of this name, or else a template, and its type as an artifact.
fn find(context: &Context, name: &str) -> Result<(&'static str, Snapshot), SnapshotError> {
    match context.snapshots().open(name) {
        Err(SnapshotError::NotFound(_)) => Ok((TEMPLATE, context.templates().open(name)?)),
        other => Ok((SNAPSHOT, other?)),
    }
}

fn export(context: &Context, name: &str, path: &Path) -> Result<(), Failure> {
    let (artifact_type, snapshot) = find(context, name)?;
    snapshot.verify()?;
    let state = snapshot.manifest.encode()?;
    let memory = File::open(snapshot.memory())?;
    let artifact =
        NewArtifact { artifact_type, name, config: (STATE, &state), layer: (MEMORY, &memory) };
    Ok(artifact.write(path)?)
}

fn import(context: &Context, path: &Path, name: Option<&str>) -> Result<Snapshot, Failure> {
    let artifact = context.store().artifact(path, &[SNAPSHOT, TEMPLATE], &NoProgress)?;
    let kernels: Vec<_> =
        context.kernels().list()?.into_iter().map(|kernel| kernel.path).collect();
    let disks = context.store().disks()?;
    let incoming =
        Incoming::understand(&artifact.config()?, &kernels, &disks).map_err(needs)?;
    let mut memory = artifact.layer(MEMORY)?;
    let own = artifact.name.as_deref().unwrap_or_default();
    if artifact.artifact_type == TEMPLATE && name.is_none() {
        let name = template::name_of(&incoming, own)?;
        return Ok(incoming.keep(&context.templates(), &name, &mut memory, true)?);
    }
    Ok(incoming.keep(&context.snapshots(), name.unwrap_or(own), &mut memory, false)?)
}

/// Says how to get what a snapshot needs.
fn needs(error: SnapshotError) -> Failure {
    let missing = matches!(error, SnapshotError::Needs { .. });
    let failure = Failure::from(error);
    if !missing {
        return failure;
    }
    failure.hint(
        "import the kernel (`bulkhead kernel import`) and the image, and run the image once \
         behind a microVM, which makes its disk",
    )
}

fn inspect(context: &Context, name: &str) -> Result<(), Failure> {
    let (_, snapshot) = find(context, name)?;
    snapshot.verify()?;
    stdout::json(&description(&snapshot)?)
}
