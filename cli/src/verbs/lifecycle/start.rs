//! `bulkhead create`, `start`, and `run --detach`.

use std::io::IsTerminal;
use std::process::ExitCode;

use bulkhead_instances::control::Attach;

use super::{attach, each};
use crate::args::{RunArgs, StartArgs};
use crate::context::Context;
use crate::failure::Failure;
use crate::{instance, stdout, supervisor};

/// Prints the id once the workload runs.
pub fn run_detached(context: &Context, args: &RunArgs) -> Result<ExitCode, Failure> {
    let mut held = instance::create(context, args)?;
    let id = held.instance.config.id.clone();
    if let Err(failure) = supervisor::start(context, &mut held, None) {
        // It never ran: nobody has a use for it, and its name is free again.
        context.instances().remove(held)?;
        return Err(failure);
    }
    stdout::line(id)?;
    Ok(ExitCode::SUCCESS)
}

pub fn create(context: &Context, args: &RunArgs) -> Result<ExitCode, Failure> {
    let held = instance::create(context, args)?;
    stdout::line(&held.instance.config.id)?;
    Ok(ExitCode::SUCCESS)
}

pub fn start(context: &Context, args: &StartArgs) -> Result<ExitCode, Failure> {
    let names = &args.names.names;
    match (&names[..], args.attach || args.interactive) {
        ([name], true) => start_attached(context, name, args),
        (_, true) => Err(Failure::new("only one sandbox at a time can be attached to")),
        (_, false) => each(names, |name| start_one(context, name)),
    }
}

/// Starts an instance that does not run; one that does is left as it is.
pub fn start_one(context: &Context, name: &str) -> Result<(), Failure> {
    let instances = context.instances();
    let instance = instances.find(name)?;
    if instance.status().is_up() {
        return Ok(());
    }
    supervisor::start(context, &mut instances.take(&instance)?, None)?;
    Ok(())
}

fn start_attached(
    context: &Context,
    name: &str,
    args: &StartArgs,
) -> Result<ExitCode, Failure> {
    let instances = context.instances();
    let instance = instances.find(name)?;
    let streams = attach::Streams {
        stdin: args.interactive && instance.config.interactive,
        signals: true,
        terminal: instance.config.terminal && std::io::stdin().is_terminal(),
    };
    let watch = attach::Watch::begin(streams)?;
    let asked = Attach { stdin: streams.stdin, output: true, size: watch.size() };
    let client = supervisor::start(context, &mut instances.take(&instance)?, Some(asked))?;
    watch.carry(client, &instance)
}
