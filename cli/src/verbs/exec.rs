//! `bulkhead exec`: a further process in a sandbox that runs.

use std::process::ExitCode;

use bulkhead_image::Accounts;
use bulkhead_image::spec::{SpecError, further_process};
use bulkhead_runtime::{Error, StateDir, TerminalSize};

use crate::args::ExecArgs;
use crate::context::{Context, Guest};
use crate::failure::Failure;
use crate::signals::Signals;
use crate::terminal::{self, Screen};
use crate::verbs::run;

pub fn run(context: &Context, args: &ExecArgs) -> Result<ExitCode, Failure> {
    terminal::check(args.terminal)?;
    let mut signals = Signals::forwarded()?;
    let id = context.instances().sandbox(&args.sandbox)?;
    let dir = StateDir::open(&context.root, &id)?;
    let mut sandbox = context.runtime(dir.read()?.isolation, Guest::default())?.load(&id)?;
    let spec = dir.read_config()?;
    let not_running = || Error::NotRunning { id: id.clone() };
    let first = spec.process().as_ref().ok_or_else(not_running)?;
    let mut process =
        further_process(first, &Accounts::default(), &args.options()).map_err(refused)?;
    process.set_console_size(terminal::size().and_then(TerminalSize::to_console));
    let stdio = terminal::stdio(args.terminal.interactive)?;
    let mut process = sandbox.exec(&process, stdio)?;
    let end = Screen::enter(args.terminal)
        .and_then(|screen| run::supervise(&mut *process, &mut signals, None, screen.as_ref()));
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
