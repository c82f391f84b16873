//! `bulkhead top`: the processes in a sandbox.

use std::process::ExitCode;

use bulkhead_instances::{describe, top};
use bulkhead_runtime::{Error as RuntimeError, Isolation};
use indicatif::BinaryBytes;

use super::unreachable;
use crate::args::TopArgs;
use crate::context::{Context, Guest};
use crate::failure::Failure;
use crate::stdout;

pub fn run(context: &Context, args: &TopArgs) -> Result<ExitCode, Failure> {
    let instance = context.instances().find(&args.name)?;
    let Some(id) = instance.state.sandbox.as_ref().filter(|_| instance.status().is_up()) else {
        return Err(unreachable(&instance));
    };
    let isolation = instance.config.isolation;
    if isolation == Isolation::MicroVm {
        // Its processes are its kernel's, which the host does not ask.
        let what = "listing the processes inside";
        return Err(Failure::from(RuntimeError::Unsupported { isolation, what })
            .hint("`bulkhead exec SANDBOX ps` asks the kernel inside, if the image has ps"));
    }
    let sandbox = context.runtime(isolation, Guest::default())?.load(id)?;
    let listed = top::list(&sandbox.processes()?);
    if args.output.is_json() {
        stdout::json(&listed)?;
        return Ok(ExitCode::SUCCESS);
    }
    let head = ["PID", "INSIDE", "PARENT", "USER", "CPU", "MEMORY", "COMMAND"];
    let mut rows = vec![head.map(str::to_owned)];
    for process in &listed {
        rows.push([
            process.pid.to_string(),
            process.pid_inside.to_string(),
            process.parent.to_string(),
            process.user.to_string(),
            format!("{:.2} s", process.cpu.as_secs_f64()),
            BinaryBytes(process.resident_bytes).to_string(),
            process.command.join(" ").escape_debug().to_string(),
        ]);
    }
    stdout::text(&describe::columns(&rows))?;
    Ok(ExitCode::SUCCESS)
}
