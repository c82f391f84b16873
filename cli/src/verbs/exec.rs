//! `bulkhead exec`: a further process in a sandbox that runs.

use std::process::ExitCode;

use bulkhead_image::Accounts;
use bulkhead_image::spec::{SpecError, further_process};
use bulkhead_runtime::{Error, StateDir, Stdio};

use crate::args::ExecArgs;
use crate::context::{Context, Guest};
use crate::failure::Failure;
use crate::signals::Signals;
use crate::verbs::run;

pub fn run(context: &Context, args: &ExecArgs) -> Result<ExitCode, Failure> {
    let mut signals = Signals::forwarded()?;
    let id = context.instances().sandbox(&args.sandbox)?;
    let dir = StateDir::open(&context.root, &id)?;
    let mut sandbox = context.runtime(dir.read()?.isolation, Guest::default())?.load(&id)?;
    let spec = dir.read_config()?;
    let not_running = || Error::NotRunning { id: id.clone() };
    let first = spec.process().as_ref().ok_or_else(not_running)?;
    let process =
        further_process(first, &Accounts::default(), &args.options()).map_err(refused)?;
    let mut process = sandbox.exec(&process, stdio(args)?)?;
    let end = run::supervise(&mut *process, &mut signals, None);
    process.delete()?;
    Ok(ExitCode::from(end?.code()))
}

fn refused(error: SpecError) -> Failure {
    match error {
        SpecError::UnknownUser(_) | SpecError::UnknownGroup(_) => {
            Failure::from(error).hint("give the user by its number")
        }
        other => other.into(),
    }
}

fn stdio(args: &ExecArgs) -> Result<Stdio, Failure> {
    let own = Stdio::inherit()?;
    Ok(if args.interactive { own } else { Stdio { stdin: Stdio::null()?.stdin, ..own } })
}
