//! `bulkhead stop`, `restart`, `kill` and `wait`.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use bulkhead_instances::control::{ControlError, Reply, Request};
use bulkhead_instances::{Instance, Keeper, Status};
use bulkhead_runtime::{Error as RuntimeError, Signal, StateDir};
use nix::sys::signal::{Signal as Named, kill as send};
use nix::unistd::Pid;

use super::{connect, each, start, unreachable};
use crate::args::{KillArgs, NamesArgs, StopArgs};
use crate::context::{Context, Guest};
use crate::failure::{Failure, code};
use crate::stdout;

/// How often somebody looks whether a sandbox in the foreground is gone.
const LOOK: Duration = Duration::from_millis(20);

/// How long a supervisor that has just been started may take to listen.
const LISTENING: Duration = Duration::from_secs(5);

pub fn stop(context: &Context, args: &StopArgs) -> Result<ExitCode, Failure> {
    each(&args.names.names, |name| {
        stop_one(context, &context.instances().find(name)?, args.signal, args.time)
    })
}

pub fn restart(context: &Context, args: &StopArgs) -> Result<ExitCode, Failure> {
    each(&args.names.names, |name| {
        let instance = context.instances().find(name)?;
        if instance.is_foreground() {
            return Err(unreachable(&instance));
        }
        stop_one(context, &instance, args.signal, args.time)?;
        released(context, &instance)?;
        start::start_one(context, instance.config.id.as_str())
    })
}

pub fn kill(context: &Context, args: &KillArgs) -> Result<ExitCode, Failure> {
    each(&args.names.names, |name| {
        let instance = context.instances().find(name)?;
        kill_one(context, &instance, args.signal)
    })
}

pub fn wait(context: &Context, args: &NamesArgs) -> Result<ExitCode, Failure> {
    let mut exit = ExitCode::SUCCESS;
    for name in &args.names {
        let ended = context.instances().find(name).map_err(Failure::from);
        match ended.and_then(|instance| await_end(&instance)) {
            Ok(code) => stdout::line(code)?,
            Err(failure) => {
                failure.report();
                exit = ExitCode::from(code::FAILURE);
            }
        }
    }
    Ok(exit)
}

/// Stops an instance; one that does not run is left as it is.
pub fn stop_one(
    context: &Context,
    instance: &Instance,
    signal: Option<Signal>,
    seconds: Option<i64>,
) -> Result<(), Failure> {
    if !instance.status().is_up() {
        return Ok(());
    }
    if let Keeper::Foreground { owner } = instance.keeper {
        let signal = signal.unwrap_or(instance.config.stop_signal);
        let grace = match seconds {
            None => instance.config.stop_timeout,
            Some(seconds) => u64::try_from(seconds).ok().map(Duration::from_secs),
        };
        signal_foreground(context, instance, owner, signal)?;
        if gone(context, instance, grace) {
            return Ok(());
        }
        signal_foreground(context, instance, owner, Signal::KILL)?;
        gone(context, instance, None);
        return Ok(());
    }
    // A microVM that boots is not listening yet; a signal ends the boot.
    if let (Status::Starting, Some(supervisor)) = (instance.status(), instance.state.supervisor)
    {
        let _ = send(Pid::from_raw(supervisor), Named::SIGTERM);
    }
    conclude(instance, &Request::Stop { signal, seconds })
}

/// Sends a signal; for the last one there is, waits until it has had its effect.
pub fn kill_one(context: &Context, instance: &Instance, signal: Signal) -> Result<(), Failure> {
    if !instance.status().is_up() {
        return Err(unreachable(instance));
    }
    if let Keeper::Foreground { owner } = instance.keeper {
        return signal_foreground(context, instance, owner, signal);
    }
    let starts = instance.status() == Status::Starting;
    if let (true, Some(supervisor)) =
        (starts && signal == Signal::KILL, instance.state.supervisor)
    {
        let _ = send(Pid::from_raw(supervisor), Named::SIGTERM);
        return conclude(instance, &Request::Wait);
    }
    let mut client = connect(instance)?;
    client.ask(&Request::Signal(signal)).map_err(Failure::from_control)?;
    if signal == Signal::KILL {
        conclude(instance, &Request::Wait)?;
    }
    Ok(())
}

/// Asks for something that is answered when the instance has ended.
fn conclude(instance: &Instance, request: &Request) -> Result<(), Failure> {
    match ending(instance, request) {
        Ok(_) => Ok(()),
        Err(failure) => Err(failure),
    }
}

fn ending(instance: &Instance, request: &Request) -> Result<Option<u8>, Failure> {
    let since = Instant::now();
    let mut client = loop {
        match connect(instance) {
            Ok(client) => break client,
            Err(_) if since.elapsed() < LISTENING && is_alive(instance) => thread::sleep(LOOK),
            // It has ended meanwhile.
            Err(_) if !is_alive(instance) => return Ok(None),
            Err(failure) => return Err(failure),
        }
    };
    match client.ask(request) {
        Ok(Reply::Exited { code, .. }) => Ok(Some(code)),
        // It ended right then, or never began.
        Ok(_) | Err(ControlError::Ended | ControlError::Broken(_)) => Ok(None),
        Err(ControlError::Refused(_)) if !is_alive(instance) => Ok(None),
        Err(error) => Err(Failure::from_control(error)),
    }
}

fn is_alive(instance: &Instance) -> bool {
    instance.is_supervised_now()
}

/// The exit code, once there is one.
fn await_end(instance: &Instance) -> Result<u8, Failure> {
    if instance.is_foreground() {
        return Err(unreachable(instance));
    }
    let unknown = || Failure::new(format!("{} was never started", instance.config.name));
    match instance.status() {
        Status::Created => Err(unknown()),
        Status::Exited => instance.state.exit_code.ok_or_else(unknown),
        Status::Dead => Ok(Signal::KILL.exit_code()),
        _ => match ending(instance, &Request::Wait)? {
            Some(code) => Ok(code),
            None => instance.exit_code_now().ok_or_else(|| {
                let name = &instance.config.name;
                Failure::new(format!("sandbox {name} ended, and how is not known"))
            }),
        },
    }
}

/// Waits until the supervisor of an instance that was stopped has let go of it.
pub fn released(_context: &Context, instance: &Instance) -> Result<(), Failure> {
    let since = Instant::now();
    while is_alive(instance) {
        if since.elapsed() > LISTENING {
            return Err(unreachable(instance));
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// To the workload itself where that can be done from here, otherwise by way of the command
/// in the foreground, which passes most signals on.
fn signal_foreground(
    context: &Context,
    instance: &Instance,
    owner: i32,
    signal: Signal,
) -> Result<(), Failure> {
    let Some(id) = &instance.state.sandbox else { return Err(unreachable(instance)) };
    let mut sandbox = context.runtime(instance.config.isolation, Guest::default())?.load(id)?;
    match sandbox.signal(signal) {
        Err(RuntimeError::Unsupported { .. }) if crate::signals::is_forwarded(signal) => {
            let named = Named::try_from(signal.number())?;
            Ok(send(Pid::from_raw(owner), named)?)
        }
        other => Ok(other?),
    }
}

/// Whether the sandbox in the foreground is gone before `limit` has passed.
fn gone(context: &Context, instance: &Instance, limit: Option<Duration>) -> bool {
    let Some(id) = &instance.state.sandbox else { return true };
    let since = Instant::now();
    while StateDir::open(&context.root, id).is_ok_and(|dir| dir.is_owned()) {
        if limit.is_some_and(|limit| since.elapsed() > limit) {
            return false;
        }
        thread::sleep(LOOK);
    }
    true
}
