//! `bulkhead exec`.

use bulkhead_image::spec::FurtherOptions;
use clap::Args;

use super::run::environment;
use super::terminal::TerminalArgs;

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: those of the command (128+n when signal n killed it); 1 when it could not be run in the
sandbox, 126 when it cannot be executed, 127 when it is not found, as docker has them.")]
pub struct ExecArgs {
    #[command(flatten)]
    pub terminal: TerminalArgs,
    /// Set an environment variable; without a value, pass the caller's on
    #[arg(long, short = 'e', value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Working directory inside [default: the sandbox's]
    #[arg(long, short = 'w', value_name = "DIR")]
    pub workdir: Option<String>,
    /// User inside: uid, optionally with :gid [default: the sandbox's]
    #[arg(long, short = 'u', value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// The sandbox
    pub sandbox: String,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

impl ExecArgs {
    /// What the process is to be.
    pub fn options(&self) -> FurtherOptions {
        FurtherOptions {
            args: self.command.clone(),
            env: self.env.iter().filter_map(|variable| environment(variable)).collect(),
            working_dir: self.workdir.clone(),
            user: self.user.clone(),
            terminal: self.terminal.tty,
        }
    }
}
