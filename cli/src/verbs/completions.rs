//! `bulkhead completions`: a script for the user's shell.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::args::Cli;
use crate::failure::Failure;
use crate::stdout;

pub fn run(shell: Shell) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "bulkhead", &mut script);
    stdout::bytes(&script)?;
    Ok(ExitCode::SUCCESS)
}
