//! The verbs that deal with sandboxes by name, while they run and afterwards.

mod attach;
mod events;
mod inspect;
mod logs;
mod ps;
mod remove;
mod start;
mod stop;
mod top;

use std::process::ExitCode;

use bulkhead_instances::control::{Client, ControlError, Request};
use bulkhead_instances::{Instance, Timestamp};

use crate::args::LifeVerb;
use crate::context::{Context, Guest};
use crate::failure::{Failure, code};
use crate::stdout;

pub use start::run_detached;

pub fn run(context: &Context, verb: &LifeVerb) -> Result<ExitCode, Failure> {
    match verb {
        LifeVerb::Create(args) => start::create(context, args).map_err(Failure::of_run),
        LifeVerb::Start(args) => start::start(context, args),
        LifeVerb::Ps(args) => ps::run(context, args),
        LifeVerb::Logs(args) => logs::run(context, args),
        LifeVerb::Attach(args) => attach::run(context, args),
        LifeVerb::Stop(args) => stop::stop(context, args),
        LifeVerb::Restart(args) => stop::restart(context, args),
        LifeVerb::Kill(args) => stop::kill(context, args),
        LifeVerb::Pause(args) => each(&args.names, |name| hold(context, name, &Request::Pause)),
        LifeVerb::Unpause(args) => {
            each(&args.names, |name| hold(context, name, &Request::Unpause))
        }
        LifeVerb::Wait(args) => stop::wait(context, args),
        LifeVerb::Rm(args) => remove::remove(context, args),
        LifeVerb::Prune(args) => remove::prune(context, args),
        LifeVerb::Rename(args) => {
            let instances = context.instances();
            instances.rename(&instances.find(&args.name)?, args.new.as_str())?;
            Ok(ExitCode::SUCCESS)
        }
        LifeVerb::Inspect(args) => inspect::run(context, args),
        LifeVerb::Top(args) => top::run(context, args),
        LifeVerb::Events(args) => events::run(context, args),
    }
}

/// Does something to each of the sandboxes and prints the names of those it was done to.
/// What fails with one does not keep the others from it.
fn each(
    names: &[String],
    mut act: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<ExitCode, Failure> {
    let mut exit = ExitCode::SUCCESS;
    for name in names {
        match act(name) {
            Ok(()) => stdout::line(name)?,
            Err(failure) => {
                failure.report();
                exit = ExitCode::from(code::FAILURE);
            }
        }
    }
    Ok(exit)
}

/// Pauses or unpauses: by way of the supervisor, which has to know, if there is one.
fn hold(context: &Context, name: &str, request: &Request) -> Result<(), Failure> {
    let instance = context.instances().find(name)?;
    let sandbox = instance.state.sandbox.as_ref().filter(|_| instance.is_foreground());
    let Some(id) = sandbox else { return ask(&instance, request) };
    let isolation = instance.config.isolation;
    let mut sandbox = context.runtime(isolation, Guest::default())?.load(id)?;
    Ok(match request {
        Request::Pause => sandbox.pause(),
        _ => sandbox.unpause(),
    }?)
}

/// Why nothing can be asked of the supervisor of `instance`.
fn unreachable(instance: &Instance) -> Failure {
    let name = &instance.config.name;
    match (instance.is_foreground(), instance.status().is_up()) {
        (true, _) => Failure::new(format!("sandbox {name} runs in the foreground")).hint(
            "its terminal is where it was started; `run --detach` puts it into the background",
        ),
        (_, false) => Failure::new(format!("sandbox {name} is not running")),
        _ => Failure::new(format!("the supervisor of sandbox {name} does not answer")),
    }
}

/// A connection to the supervisor of `instance`.
fn connect(instance: &Instance) -> Result<Client, Failure> {
    if instance.is_foreground() || !instance.status().is_up() {
        return Err(unreachable(instance));
    }
    Client::connect(&instance.dir).map_err(|error| match error {
        ControlError::NoAnswer { .. } => unreachable(instance),
        other => Failure::new(other),
    })
}

/// Asks the supervisor of `instance` for something that is done at once.
fn ask(instance: &Instance, request: &Request) -> Result<(), Failure> {
    connect(instance)?.ask(request).map_err(Failure::from_control)?;
    Ok(())
}

/// A time on the command line.
fn time(text: Option<&String>, now: Timestamp) -> Result<Option<Timestamp>, Failure> {
    Ok(text.map(|text| Timestamp::asked(text, now)).transpose()?)
}
