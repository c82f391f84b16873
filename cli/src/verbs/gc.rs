//! `bulkhead gc`: what killed processes left behind.

use std::process::ExitCode;

use bulkhead_microvm::template;
use bulkhead_runtime::{Pool, state};

use crate::args::GcArgs;
use crate::context::Context;
use crate::failure::Failure;
use crate::stdout;

pub fn run(context: &Context, args: &GcArgs) -> Result<ExitCode, Failure> {
    let mut found = Vec::new();
    for (id, record) in state::abandoned(&context.root)? {
        let wall = record.as_ref().map_or("damaged", |record| record.isolation.as_str());
        if args.output.is_json() {
            found.push(serde_json::json!({ "id": id.to_string(), "wall": wall }));
        } else {
            stdout::line(format_args!("{id} ({wall})"))?;
        }
        if args.dry_run {
            continue;
        }
        bulkhead_bench::peers::kill_marked(&id);
        // Purging is idempotent and finds what belongs to an id by itself, so a
        // sandbox whose record is lost is looked for behind both walls.
        for runtime in context.walls()? {
            let ours = record.as_ref().is_none_or(|r| r.isolation == runtime.isolation());
            if ours {
                runtime.purge(&id)?;
            }
        }
    }
    // After their sandboxes: one that is to be removed has none left.
    for instance in context.instances().collect_garbage(!args.dry_run)? {
        let name = &instance.config.name;
        if args.output.is_json() {
            found.push(serde_json::json!({ "id": name, "wall": "instance" }));
        } else {
            stdout::line(format_args!("{name} (its supervisor was killed)"))?;
        }
    }
    // After the sandboxes: those that were removed have left.
    for left in context.networks().collect(args.dry_run)? {
        let (network, member) = (left.network, left.member);
        let id = member.map_or_else(|| network.clone(), |id| format!("{id} on {network}"));
        if args.output.is_json() {
            found.push(serde_json::json!({ "id": id, "wall": "network" }));
        } else {
            stdout::line(format_args!("{id} (network)"))?;
        }
    }
    if !args.dry_run {
        Pool::at(&context.root).sweep()?;
        context.store().collect_garbage()?;
        context.snapshots().collect_garbage()?;
        context.store().volumes().collect_garbage()?;
    }
    // After the images: a template goes with the disk it was made with.
    for name in template::collect_garbage(&context.templates(), args.dry_run)? {
        if args.output.is_json() {
            found.push(serde_json::json!({ "id": name, "wall": "template" }));
        } else {
            stdout::line(format_args!("{name} (template)"))?;
        }
    }
    if args.output.is_json() {
        stdout::json(&found)?;
    }
    Ok(ExitCode::SUCCESS)
}
