//! `bulkhead run`: one workload behind one wall, from request to release.

use std::fs;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant as Deadline};

use bulkhead_instances::{InstanceId, RestartPolicy, generated};
use bulkhead_runtime::{Clock, Exit, Instant, Isolation, Sandbox, Signal, Timeline};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::args::RunArgs;
use crate::context::Context;
use crate::failure::{Failure, code};
use crate::instance;
use crate::launch::{self, Asked, Launched};
use crate::signals::Signals;
use crate::terminal::{self, Screen};
use crate::verbs::lifecycle;
use crate::verbs::pool::Filling;

/// After this many requests to end, the workload is killed, as docker does.
const PATIENCE: u32 = 3;

pub fn run(context: &Context, args: &RunArgs, requested: Instant) -> Result<ExitCode, Failure> {
    if args.life.detach {
        return lifecycle::run_detached(context, args);
    }
    only_in_the_background(args)?;
    terminal::check(args.terminal)?;
    let mut signals = Signals::forwarded()?;
    let deadline = args.timeout.map(|limit| Deadline::now() + limit);
    let isolation = launch::wall(context, args)?;
    if let Some(name) = &args.name {
        context.instances().expect_free(name.as_str())?;
    }
    // Who asks for a terminal says with it whether anybody types.
    let stdio = terminal::stdio(args.terminal.interactive || !args.terminal.tty)?;
    let asked = Asked { id: args.name.as_ref(), otherwise: None, stdio, requested };
    let mut launched = launch::create(context, args, isolation, asked)?;
    note(context, args, isolation, &launched)?;
    let outcome = launched.start(Some(signals.as_fd())).and_then(|()| {
        if let Some(count) = args.warm_pool {
            top_up(context, args, &launched, count);
        }
        let screen = Screen::enter(args.terminal)?;
        supervise(&mut *launched.sandbox, &mut signals, deadline, screen.as_ref())
    });
    let released = launched.delete();
    if let Some(path) = &args.timeline {
        fs::write(path, timeline_json(&launched.sandbox.timeline()))?;
    }
    let end = outcome?;
    released?;
    say(args, isolation, end);
    Ok(ExitCode::from(end.code()))
}

/// Refuses what needs a supervisor.
fn only_in_the_background(args: &RunArgs) -> Result<(), Failure> {
    let asked = args.life.restart.is_some_and(|policy| policy != RestartPolicy::No);
    if asked || args.health.health_cmd.is_some() || args.health.changes_anything() {
        let error = "--restart and --health-* are for sandboxes in the background";
        return Err(Failure::new(error).hint("add --detach"));
    }
    Ok(())
}

/// Has `ps` and others find the sandbox.
fn note(
    context: &Context,
    args: &RunArgs,
    isolation: Isolation,
    launched: &Launched,
) -> Result<(), Failure> {
    let sandbox = launched.sandbox.id();
    let id = InstanceId::of_sandbox(sandbox)?;
    let (image, spec) = (&launched.image, &launched.bundle.spec);
    let mut config = instance::config(args, isolation, image, spec, id)?;
    if config.name.is_empty() {
        config.name = generated(&config.id);
    }
    Ok(context.instances().note_foreground(sandbox, &config)?)
}

/// Has `count` sandboxes wait for runs like this one. The run itself does not fail
/// when that does.
fn top_up(context: &Context, args: &RunArgs, launched: &Launched, count: usize) {
    let (runtime, image, name) = (&*launched.runtime, &launched.image, &args.image);
    let pool = Filling { context, runtime, image, name };
    loop {
        match pool.add(&launched.bundle, count) {
            Ok(Some(_)) => {}
            Ok(None) => return,
            Err(failure) => {
                eprintln!("bulkhead: the pool is not full: {failure}");
                return;
            }
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy)]
pub enum End {
    Exited(Exit),
    TimedOut,
}

impl End {
    pub fn code(self) -> u8 {
        match self {
            Self::Exited(exit) => exit.code(),
            Self::TimedOut => code::TIMED_OUT,
        }
    }
}

/// Waits for the workload's end, passing signals on.
pub fn supervise(
    sandbox: &mut dyn Sandbox,
    signals: &mut Signals,
    deadline: Option<Deadline>,
    screen: Option<&Screen>,
) -> Result<End, Failure> {
    let mut requests = 0;
    loop {
        if let Some(exit) = sandbox.wait(Some(Duration::ZERO))? {
            return Ok(End::Exited(exit));
        }
        let left = deadline.map(|at| at.saturating_duration_since(Deadline::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(End::TimedOut);
        }
        await_event(sandbox, signals, left)?;
        while let Some(signal) = signals.next()? {
            if signal == Signal::WINCH {
                screen.inspect(|screen| screen.resize(sandbox));
                continue;
            }
            requests += u32::from(matches!(signal, Signal::INT | Signal::TERM));
            let signal = if requests >= PATIENCE { Signal::KILL } else { signal };
            match sandbox.signal(signal) {
                // It has just ended: the next wait says how.
                Err(bulkhead_runtime::Error::NotRunning { .. }) => {}
                other => other?,
            }
        }
    }
}

fn await_event(
    sandbox: &dyn Sandbox,
    signals: &Signals,
    left: Option<Duration>,
) -> Result<(), Failure> {
    // Rounded up, so that the deadline has passed when poll returns.
    let timeout = left.map_or(PollTimeout::NONE, |left| {
        PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX)
    });
    let mut events = [
        PollFd::new(sandbox.event_fd(), PollFlags::POLLIN),
        PollFd::new(signals.as_fd(), PollFlags::POLLIN),
    ];
    match poll(&mut events, timeout) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What the exit code alone does not tell.
fn say(args: &RunArgs, isolation: Isolation, end: End) {
    match end {
        End::TimedOut => {
            let limit = args.timeout.unwrap_or_default();
            eprintln!("bulkhead: timed out after {limit:?}, the sandbox was killed");
        }
        End::Exited(Exit { oom_killed: true, .. }) => {
            let where_ = match isolation {
                Isolation::MicroVm => "the microVM's memory",
                _ => "the memory limit",
            };
            eprintln!("bulkhead: out of memory: a process was killed at {where_}");
        }
        End::Exited(_) => {}
    }
}

/// The named clocks in nanoseconds after `request`.
fn timeline_json(timeline: &Timeline) -> String {
    let start = timeline.get(Clock::Request).unwrap_or(Instant::from_nanos(0));
    let clocks: serde_json::Map<String, serde_json::Value> = timeline
        .iter()
        .map(|(clock, at)| {
            let after = at.as_nanos().saturating_sub(start.as_nanos());
            (clock.as_str().to_owned(), after.into())
        })
        .collect();
    serde_json::Value::from(clocks).to_string()
}
