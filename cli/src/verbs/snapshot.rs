//! `bulkhead snapshot`: microVMs kept under a name.

use std::process::ExitCode;

use bulkhead_microvm::StartFrom;
use bulkhead_microvm::snapshot::{SnapshotError, Snapshots};

use crate::args::SnapshotVerb;
use crate::context::{Context, Guest};
use crate::failure::Failure;
use crate::stdout;
use crate::verbs::template::{boot_and_save, description, list, remove};

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
            refuse_taken(&snapshots, name)?;
            let runtime = context.microvm_from(Guest::default(), StartFrom::Kernel)?;
            let snapshot = runtime.save_running(sandbox, &snapshots, name)?;
            stdout::line(snapshot.dir().display())?;
        }
        SnapshotVerb::Ls { output } => list(&snapshots, output.is_json())?,
        SnapshotVerb::Rm { names } => remove(&snapshots, names)?,
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

fn inspect(context: &Context, name: &str) -> Result<(), Failure> {
    let snapshot = match context.snapshots().open(name) {
        Err(SnapshotError::NotFound(_)) => context.templates().open(name)?,
        other => other?,
    };
    snapshot.verify()?;
    stdout::json(&description(&snapshot)?)
}
