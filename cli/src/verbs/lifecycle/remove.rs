//! `bulkhead rm` and `prune`.

use std::process::ExitCode;

use bulkhead_instances::{Instance, filter};
use bulkhead_runtime::Signal;

use super::{each, stop};
use crate::args::{PruneArgs, RemoveArgs};
use crate::context::Context;
use crate::failure::Failure;
use crate::{stdout, supervisor};

pub fn remove(context: &Context, args: &RemoveArgs) -> Result<ExitCode, Failure> {
    each(&args.names.names, |name| {
        let instance = context.instances().find(name)?;
        if instance.status().is_up() {
            if !args.force {
                let error = format!("sandbox {} is running", instance.config.name);
                return Err(Failure::new(error).hint("stop it first, or add --force"));
            }
            stop::kill_one(context, &instance, Signal::KILL)?;
            if instance.is_foreground() {
                // It goes with its command.
                return Ok(());
            }
            stop::released(context, &instance)?;
        }
        remove_one(context, &instance)
    })
}

/// One that is to be removed when it has ended may be gone already.
fn remove_one(context: &Context, instance: &Instance) -> Result<(), Failure> {
    let instances = context.instances();
    if instance.config.auto_remove && instances.find(instance.config.id.as_str()).is_err() {
        return Ok(());
    }
    let held = instances.take(instance)?;
    supervisor::purge_left(context, &held)?;
    Ok(instances.remove(held)?)
}

pub fn prune(context: &Context, args: &PruneArgs) -> Result<ExitCode, Failure> {
    for instance in context.instances().list()? {
        if instance.status().is_up() || !filter::fits(&args.filter, &instance) {
            continue;
        }
        remove_one(context, &instance)?;
        stdout::line(&instance.config.id)?;
    }
    Ok(ExitCode::SUCCESS)
}
