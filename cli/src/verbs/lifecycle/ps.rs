//! `bulkhead ps`: which sandboxes there are.

use std::process::ExitCode;

use bulkhead_instances::{Instance, Timestamp, describe, filter};

use crate::args::PsArgs;
use crate::context::Context;
use crate::failure::Failure;
use crate::stdout;

/// Most characters of a command that are shown.
const COMMAND: usize = 20;

pub fn run(context: &Context, args: &PsArgs) -> Result<ExitCode, Failure> {
    let mut shown = context.instances().list()?;
    // docker: who asks for those that have ended wants to see them.
    let asked = |filter: &filter::Filter| {
        matches!(filter, filter::Filter::Status(_) | filter::Filter::Exited(_))
    };
    let all = args.all || args.filter.iter().any(asked);
    shown.retain(|instance| {
        (all || instance.status().is_up()) && filter::fits(&args.filter, instance)
    });
    // Newest first.
    shown.reverse();
    if args.output.is_json() {
        stdout::json(&shown.iter().map(row).collect::<Vec<_>>())?;
    } else if args.quiet {
        for instance in &shown {
            stdout::line(id(instance, args.no_trunc))?;
        }
    } else {
        stdout::text(&table(&shown, args.no_trunc))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn id(instance: &Instance, whole: bool) -> &str {
    let id = &instance.config.id;
    if whole { id.as_str() } else { id.short() }
}

fn row(instance: &Instance) -> serde_json::Value {
    let (config, state) = (&instance.config, &instance.state);
    serde_json::json!({
        "id": config.id,
        "name": config.name,
        "image": config.image,
        "image_digest": config.image_digest,
        "command": config.command,
        "isolation": config.isolation,
        "created": config.created,
        "status": instance.status(),
        "started": state.started,
        "finished": state.finished,
        "exit_code": state.exit_code,
        "oom_killed": state.oom_killed,
        "restarts": state.restarts,
        "health": state.health.unwrap_or_default(),
        "labels": config.labels,
        "pid": state.pid,
        "foreground": instance.is_foreground(),
    })
}

fn table(shown: &[Instance], whole: bool) -> String {
    let now = Timestamp::now();
    let head = ["ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "WALL", "NAME"];
    let mut rows = vec![head.map(str::to_owned)];
    for instance in shown {
        let config = &instance.config;
        let mut command = config.command.join(" ").escape_debug().to_string();
        if !whole && command.chars().count() > COMMAND {
            command = command.chars().take(COMMAND - 1).chain(['…']).collect();
        }
        rows.push([
            id(instance, whole).to_owned(),
            config.image.clone(),
            command,
            format!("{} ago", describe::time(config.created.age(now))),
            describe::status(instance, now),
            config.isolation.to_string(),
            config.name.clone(),
        ]);
    }
    describe::columns(&rows)
}
