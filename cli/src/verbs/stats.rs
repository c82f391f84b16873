//! `bulkhead stats`: what running sandboxes use on the host.

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use bulkhead_instances::{Instance, describe};
use bulkhead_runtime::memory::{self, ProcessMemory};
use bulkhead_runtime::{Error as RuntimeError, SandboxId, StateDir, Usage, state};
use indicatif::BinaryBytes;

use crate::args::StatsArgs;
use crate::context::{Context, Guest};
use crate::failure::Failure;
use crate::stdout;

/// From one look to the next while somebody watches.
const PERIOD: Duration = Duration::from_secs(1);
/// To the top of the screen, and clear what is below (ECMA-48: CUP, ED).
const FROM_THE_TOP: &str = "\x1b[H\x1b[J";

/// A sandbox, looked at once.
struct Seen {
    id: SandboxId,
    name: String,
    wall: &'static str,
    usage: Usage,
    memory: ProcessMemory,
    processes: usize,
}

/// What the sandboxes had used when they were looked at last, by name.
type Before = HashMap<SandboxId, (Instant, u64)>;

pub fn run(context: &Context, args: &StatsArgs) -> Result<ExitCode, Failure> {
    if args.output.is_json() {
        stdout::json(&look_at_all(context, &args.names)?.iter().map(row).collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let live = !args.no_stream && io::stdout().is_terminal();
    let mut before = Before::new();
    loop {
        let seen = look_at_all(context, &args.names)?;
        let text = table(&seen, &mut before);
        if !live {
            stdout::text(&text)?;
            return Ok(ExitCode::SUCCESS);
        }
        stdout::text(&format!("{FROM_THE_TOP}{text}"))?;
        thread::sleep(PERIOD);
    }
}

fn look_at_all(context: &Context, names: &[String]) -> Result<Vec<Seen>, Failure> {
    let all = names.is_empty();
    let ids = if all {
        state::list(&context.root)?
    } else {
        let found = names.iter().map(|name| context.instances().sandbox(name));
        found.collect::<Result<_, _>>()?
    };
    let instances = context.instances().list()?;
    let mut seen = Vec::new();
    for id in ids {
        match look(context, &id, &instances) {
            Ok(Some(sandbox)) => seen.push(sandbox),
            Ok(None) if all => {}
            Ok(None) => return Err(RuntimeError::NotRunning { id }.into()),
            // It has ended while we looked.
            Err(_) if all && StateDir::open(&context.root, &id).is_err() => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(seen)
}

/// What a sandbox uses; `None` when nothing of it runs.
fn look(
    context: &Context,
    id: &SandboxId,
    instances: &[Instance],
) -> Result<Option<Seen>, Failure> {
    let isolation = StateDir::open(&context.root, id)?.read()?.isolation;
    let sandbox = context.runtime(isolation, Guest::default())?.load(id)?;
    let processes = sandbox.processes()?;
    if processes.is_empty() {
        return Ok(None);
    }
    // One that has ended meanwhile holds nothing.
    let held = processes.iter().filter_map(|process| memory::process(process.pid).ok());
    // One of a pool or a benchmark is nobody's instance.
    let own = instances.iter().find(|it| it.state.sandbox.as_ref() == Some(id));
    Ok(Some(Seen {
        id: id.clone(),
        name: own.map_or_else(|| id.to_string(), |it| it.config.name.clone()),
        wall: isolation.as_str(),
        usage: sandbox.usage()?,
        memory: held.sum(),
        processes: processes.len(),
    }))
}

fn row(seen: &Seen) -> serde_json::Value {
    serde_json::json!({
        "name": seen.name,
        "sandbox": seen.id,
        "wall": seen.wall,
        "memory_limit_bytes": seen.usage.memory_limit_bytes,
        "memory_charged_bytes": seen.usage.memory_bytes,
        "touched_bytes": seen.memory.rss,
        "proportional_bytes": seen.memory.pss,
        "shared_bytes": seen.memory.shared(),
        "cpu_nanoseconds": seen.usage.cpu_ns,
        "processes": seen.processes,
    })
}

fn table(all: &[Seen], before: &mut Before) -> String {
    let head = [
        "NAME",
        "WALL",
        "CPU %",
        "MEMORY",
        "TOUCHED",
        "PROPORTION",
        "SHARED",
        "CPU",
        "PROCESSES",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    for seen in all {
        let bytes = |bytes: u64| BinaryBytes(bytes).to_string();
        let none = || "-".to_owned();
        rows.push([
            seen.name.clone(),
            seen.wall.to_owned(),
            share(seen, before).map_or_else(none, |share| format!("{share:.1}")),
            seen.usage.memory_limit_bytes.map_or_else(none, bytes),
            bytes(seen.memory.rss),
            bytes(seen.memory.pss),
            bytes(seen.memory.shared()),
            seen.usage.cpu_ns.map_or_else(none, |ns| {
                format!("{:.2} s", Duration::from_nanos(ns).as_secs_f64())
            }),
            seen.processes.to_string(),
        ]);
    }
    describe::columns(&rows)
}

/// Percent of a processor that were used since the last look, if there was one.
fn share(seen: &Seen, before: &mut Before) -> Option<f64> {
    let (now, used) = (Instant::now(), seen.usage.cpu_ns?);
    let (then, had) = before.insert(seen.id.clone(), (now, used))?;
    let used = Duration::from_nanos(used.saturating_sub(had));
    Some(100.0 * used.as_secs_f64() / now.duration_since(then).as_secs_f64())
}
