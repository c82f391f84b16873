//! Options of a command's terminal.

use clap::Args;
use serde::{Deserialize, Serialize};

/// What a command has as its standard streams.
#[derive(Debug, Clone, Copy, Default, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct TerminalArgs {
    /// Pass standard input on; a `run` without --tty does so in any case
    #[arg(long, short = 'i')]
    pub interactive: bool,
    /// Give the command a terminal
    #[arg(long, short = 't')]
    pub tty: bool,
}
