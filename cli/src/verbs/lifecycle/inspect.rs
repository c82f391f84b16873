//! `bulkhead inspect`: all that is known.

use std::process::ExitCode;

use bulkhead_instances::Instance;
use serde_json::{Value, json};

use crate::args::NamesArgs;
use crate::context::Context;
use crate::failure::{Failure, code};
use crate::stdout;

pub fn run(context: &Context, args: &NamesArgs) -> Result<ExitCode, Failure> {
    let mut exit = ExitCode::SUCCESS;
    let mut known = Vec::new();
    for name in &args.names {
        match context.instances().find(name) {
            Ok(instance) => known.push(describe(&instance)),
            Err(error) => {
                Failure::from(error).report();
                exit = ExitCode::from(code::FAILURE);
            }
        }
    }
    stdout::json(&known)?;
    Ok(exit)
}

fn describe(instance: &Instance) -> Value {
    let (config, state) = (&instance.config, &instance.state);
    json!({
        "id": config.id,
        "name": config.name,
        "created": config.created,
        "image": config.image,
        "image_digest": config.image_digest,
        "command": config.command,
        "isolation": config.isolation,
        "foreground": instance.is_foreground(),
        "state": {
            "status": instance.status(),
            "pid": state.pid,
            "supervisor": state.supervisor,
            "sandbox": state.sandbox,
            "started": state.started,
            "finished": state.finished,
            "exit_code": state.exit_code,
            "oom_killed": state.oom_killed,
            "error": state.error,
            "stopped_on_request": state.stopped,
            "health": instance.health(),
        },
        "restarts": state.restarts,
        "restart_policy": config.restart,
        "stop_signal": config.stop_signal.to_string(),
        "stop_timeout_seconds": config.stop_timeout.map(|time| time.as_secs_f64()),
        "timeout_seconds": config.timeout.map(|time| time.as_secs_f64()),
        "auto_remove": config.auto_remove,
        "interactive": config.interactive,
        "terminal": config.terminal,
        "labels": config.labels,
        "health_check": config.health,
        "log": { "directory": instance.log_dir(), "limits": config.log },
        "directory": instance.dir,
        "run": config.run,
    })
}
