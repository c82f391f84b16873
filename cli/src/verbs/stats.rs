//! `bulkhead stats`: what running sandboxes use on the host.

use std::process::ExitCode;
use std::time::Duration;

use bulkhead_runtime::memory::{self, ProcessMemory};
use bulkhead_runtime::{Error as RuntimeError, SandboxId, StateDir, Usage, state};
use indicatif::BinaryBytes;

use crate::args::Output;
use crate::context::{Context, Guest};
use crate::failure::Failure;
use crate::stdout;

/// A sandbox, looked at once.
struct Seen {
    id: SandboxId,
    wall: &'static str,
    usage: Usage,
    memory: ProcessMemory,
    processes: usize,
}

pub fn run(context: &Context, names: &[String], output: Output) -> Result<ExitCode, Failure> {
    let all = names.is_empty();
    let ids = if all {
        state::list(&context.root)?
    } else {
        let found = names.iter().map(|name| context.instances().sandbox(name));
        found.collect::<Result<_, _>>()?
    };
    let mut seen = Vec::new();
    for id in ids {
        match look(context, &id) {
            Ok(Some(sandbox)) => seen.push(sandbox),
            Ok(None) if all => {}
            Ok(None) => return Err(RuntimeError::NotRunning { id }.into()),
            // It has ended while we looked.
            Err(_) if all && StateDir::open(&context.root, &id).is_err() => {}
            Err(failure) => return Err(failure),
        }
    }
    if output.is_json() {
        stdout::json(&seen.iter().map(row).collect::<Vec<_>>())?;
    } else {
        table(&seen)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What a sandbox uses; `None` when nothing of it runs.
fn look(context: &Context, id: &SandboxId) -> Result<Option<Seen>, Failure> {
    let isolation = StateDir::open(&context.root, id)?.read()?.isolation;
    let sandbox = context.runtime(isolation, Guest::default())?.load(id)?;
    let processes = sandbox.processes()?;
    if processes.is_empty() {
        return Ok(None);
    }
    // One that has ended meanwhile holds nothing.
    let held = processes.iter().filter_map(|process| memory::process(process.pid).ok());
    Ok(Some(Seen {
        id: id.clone(),
        wall: isolation.as_str(),
        usage: sandbox.usage()?,
        memory: held.sum(),
        processes: processes.len(),
    }))
}

fn row(seen: &Seen) -> serde_json::Value {
    serde_json::json!({
        "name": seen.id,
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

fn table(all: &[Seen]) -> Result<(), Failure> {
    stdout::line(format_args!(
        "{:<20} {:<10} {:>12} {:>12} {:>12} {:>12} {:>10} {:>9}",
        "NAME", "WALL", "MEMORY", "TOUCHED", "PROPORTION", "SHARED", "CPU", "PROCESSES"
    ))?;
    for seen in all {
        let bytes = |bytes: u64| BinaryBytes(bytes).to_string();
        let limit = seen.usage.memory_limit_bytes.map_or_else(|| "-".to_owned(), bytes);
        let cpu = seen.usage.cpu_ns.map_or_else(
            || "-".to_owned(),
            |ns| format!("{:.2} s", Duration::from_nanos(ns).as_secs_f64()),
        );
        stdout::line(format_args!(
            "{:<20} {:<10} {limit:>12} {:>12} {:>12} {:>12} {cpu:>10} {:>9}",
            seen.id.as_str(),
            seen.wall,
            bytes(seen.memory.rss),
            bytes(seen.memory.pss),
            bytes(seen.memory.shared()),
            seen.processes,
        ))?;
    }
    Ok(())
}
