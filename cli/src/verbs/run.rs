//! `bulkhead run`: one workload behind one wall, from request to release.

use std::fs;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant as Deadline};

use bulkhead_image::Image;
use bulkhead_microvm::StartFrom;
use bulkhead_runtime::{
    Bundle, Clock, Create, Exit, Instant, Isolation, Runtime, Sandbox, SandboxId, Signal,
    Stdio, Timeline,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::args::{RunArgs, WallChoice};
use crate::context::{Context, Guest};
use crate::failure::{Failure, code};
use crate::privileges;
use crate::signals::Signals;
use crate::verbs::advise;
use crate::verbs::pool::{self, Filling};

/// After this many requests to end, the workload is killed, as docker does.
const PATIENCE: u32 = 3;

pub fn run(context: &Context, args: &RunArgs, requested: Instant) -> Result<ExitCode, Failure> {
    let mut signals = Signals::forwarded()?;
    let deadline = args.timeout.map(|limit| Deadline::now() + limit);
    let isolation = match args.isolation {
        WallChoice::Fixed(wall) => wall,
        WallChoice::Auto => advise::choose(context, &args.trust, args.limits.memory)?,
    };
    let runtime = runtime(context, args, isolation)?;
    if args.warm_pool.is_some() {
        pool::can_prepare(&*runtime)?;
    }
    let (image, mut bundle) = bundle(context, args, isolation)?;
    // A prepared sandbox has its name already.
    let prepared = match args.cold || args.name.is_some() {
        true => None,
        false => runtime.claim(&bundle)?,
    };
    let id = match (&args.name, &prepared) {
        (Some(name), _) => name.clone(),
        (None, Some(claim)) => claim.id().clone(),
        (None, None) => SandboxId::random()?,
    };
    bundle.spec.set_hostname(args.hostname.clone().or_else(|| Some(id.to_string())));
    let request = Create::attached(&id, &bundle, Stdio::inherit()?);
    let request = Create { init: args.process.init, requested, ..request };
    let mut sandbox = match prepared {
        Some(claim) => runtime.complete(claim, request)?,
        None => runtime.create(request)?,
    };
    let outcome = sandbox.start(Some(signals.as_fd())).map_err(Failure::from).and_then(|()| {
        if let Some(count) = args.warm_pool {
            let name = &args.image;
            top_up(
                &Filling { context, runtime: &*runtime, image: &image, name },
                &bundle,
                count,
            );
        }
        supervise(&mut *sandbox, &mut signals, deadline)
    });
    let released = sandbox.delete();
    if let Some(path) = &args.timeline {
        fs::write(path, timeline_json(&sandbox.timeline()))?;
    }
    let end = outcome?;
    released?;
    say(args, isolation, end);
    Ok(ExitCode::from(end.code()))
}

/// The runtime of a wall; a microVM begins where the command line says.
fn runtime(
    context: &Context,
    args: &RunArgs,
    isolation: Isolation,
) -> Result<Box<dyn Runtime>, Failure> {
    let start = match (&args.from_snapshot, args.cold) {
        (Some(name), _) => from_snapshot(context, args, name)?,
        (None, true) => StartFrom::Kernel,
        (None, false) => StartFrom::Template(context.templates()),
    };
    match isolation {
        Isolation::MicroVm => Ok(Box::new(context.microvm_from(guest(args), start)?)),
        _ if args.from_snapshot.is_some() => {
            Err(Failure::new("only a microVM can go on from a snapshot")
                .hint("add --isolation microvm"))
        }
        other => context.runtime(other, guest(args)),
    }
}

fn from_snapshot(context: &Context, args: &RunArgs, name: &str) -> Result<StartFrom, Failure> {
    let snapshot = context.snapshots().open(name)?;
    let manifest = &snapshot.manifest;
    let told = manifest.application.as_ref().is_some_and(|it| it.hands_over);
    if manifest.running && !told && !args.command.is_empty() {
        return Err(Failure::new("a workload runs in this snapshot; it takes no other")
            .hint("leave the command out"));
    }
    Ok(StartFrom::Snapshot(snapshot.dir().to_owned()))
}

/// Has `count` sandboxes wait for runs like this one. The run itself does not fail
/// when that does.
fn top_up(pool: &Filling<'_>, bundle: &Bundle, count: usize) {
    loop {
        match pool.add(bundle, count) {
            Ok(Some(_)) => {}
            Ok(None) => return,
            Err(failure) => {
                eprintln!("bulkhead: the pool is not full: {failure}");
                return;
            }
        }
    }
}

/// The image as this wall takes it, with the options of the command line but the
/// host name. The image is held as long as the sandbox lives: that keeps it from
/// being removed.
fn bundle(
    context: &Context,
    args: &RunArgs,
    isolation: Isolation,
) -> Result<(Image, Bundle), Failure> {
    let options = args.process.options(&args.command, args.limits.options());
    let options = privileges::capabilities(&args.privileges, options);
    let image = context.image(&args.image)?;
    let bundle =
        context.bundle(&image, isolation, guest(args).root_disk, &options, &args.privileges)?;
    Ok((image, bundle))
}

fn guest(args: &RunArgs) -> Guest<'_> {
    Guest {
        kernel: args.kernel.as_deref(),
        root_disk: args.root_disk.into(),
        prefetch: args.restore.into(),
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy)]
enum End {
    Exited(Exit),
    TimedOut,
}

impl End {
    fn code(self) -> u8 {
        match self {
            Self::Exited(exit) => exit.code(),
            Self::TimedOut => code::TIMED_OUT,
        }
    }
}

/// Waits for the workload's end, passing signals on.
fn supervise(
    sandbox: &mut dyn Sandbox,
    signals: &mut Signals,
    deadline: Option<Deadline>,
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
