//! Sandboxes that outlive the command that made them: what `run` and `create` are asked
//! about that, and the verbs that deal with them afterwards.

use std::time::Duration;

use bulkhead_instances::RestartPolicy;
use bulkhead_instances::filter::Filter;
use bulkhead_runtime::{SandboxId, Signal};
use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::values::{duration, memory};
use super::{Output, RunArgs};

/// What `run` and `create` are asked about a sandbox's life.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct LifeArgs {
    /// Run in the background and print the sandbox's id
    #[arg(long, short = 'd')]
    #[serde(skip)]
    pub detach: bool,
    /// Remove the sandbox when its command has ended, which a run in the foreground does
    /// always
    #[arg(long, conflicts_with = "restart")]
    pub rm: bool,
    /// Start the command again when it has ended: no, on-failure[:N], always or
    /// unless-stopped
    #[arg(long, value_name = "POLICY")]
    pub restart: Option<RestartPolicy>,
    /// Give the sandbox a label
    #[arg(long, short = 'l', value_name = "KEY[=VALUE]")]
    pub label: Vec<String>,
    /// Signal that asks the command to stop [default: the image's, or TERM]
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<Signal>,
    /// Seconds the command may take to stop before it is killed; -1 for as long as it
    /// likes
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub stop_timeout: Option<i64>,
    /// Bytes of output kept in one file of the log, of which the newest are kept
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub log_size: Option<u64>,
    /// Files of the log that are kept
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub log_files: Option<u32>,
}

/// How to tell whether a sandbox in the background is well.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthArgs {
    /// Command that tells, run by /bin/sh inside [default: the image's]
    #[arg(long, value_name = "COMMAND")]
    pub health_cmd: Option<String>,
    /// Time from one check to the next [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub health_interval: Option<Duration>,
    /// Time a check may take [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub health_timeout: Option<Duration>,
    /// Time after the start in which failures do not count
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub health_start_period: Option<Duration>,
    /// Time from one check to the next meanwhile [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub health_start_interval: Option<Duration>,
    /// Failures in a row that are one too many [default: 3]
    #[arg(long, value_name = "N")]
    pub health_retries: Option<u32>,
    /// Run no check, not even the image's
    #[arg(long, conflicts_with = "health_cmd")]
    pub no_healthcheck: bool,
}

impl HealthArgs {
    /// Whether something about the check is other than the image says.
    pub fn changes_anything(&self) -> bool {
        let times = [
            self.health_interval,
            self.health_timeout,
            self.health_start_period,
            self.health_start_interval,
        ];
        self.health_retries.is_some() || times.iter().any(Option::is_some)
    }
}

/// Several sandboxes.
#[derive(Debug, Args)]
pub struct NamesArgs {
    /// Names or ids, of which the first digits will do
    #[arg(required = true, value_name = "SANDBOX")]
    pub names: Vec<String>,
}

#[derive(Debug, Args)]
pub struct PsArgs {
    /// Show all sandboxes, also those that do not run
    #[arg(long, short = 'a')]
    pub all: bool,
    /// Print only ids
    #[arg(long, short = 'q')]
    pub quiet: bool,
    /// Print all of ids and commands
    #[arg(long)]
    pub no_trunc: bool,
    /// Show only those with name, id, status, label, ancestor, isolation, exited, health or
    /// restart like this
    #[arg(long, short = 'f', value_name = "KEY=VALUE")]
    pub filter: Vec<Filter>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Go on printing what is written until the command has ended
    #[arg(long, short = 'f')]
    pub follow: bool,
    /// Print what was written since then: a time, or how long ago (10m)
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Print what was written before then
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Print the last lines only [default: all]
    #[arg(long, short = 'n', value_name = "N")]
    pub tail: Option<String>,
    /// Print the time of each line
    #[arg(long, short = 't')]
    pub timestamps: bool,
    /// The sandbox
    pub name: String,
}

#[derive(Debug, Args)]
pub struct StopArgs {
    /// Seconds the command may take before it is killed; -1 for as long as it likes
    #[arg(long, short = 't', value_name = "SECONDS", allow_hyphen_values = true)]
    pub time: Option<i64>,
    /// Signal that asks it to stop [default: the sandbox's own]
    #[arg(long, short = 's', value_name = "SIGNAL")]
    pub signal: Option<Signal>,
    #[command(flatten)]
    pub names: NamesArgs,
}

#[derive(Debug, Args)]
pub struct KillArgs {
    /// The signal
    #[arg(long, short = 's', value_name = "SIGNAL", default_value = "KILL")]
    pub signal: Signal,
    #[command(flatten)]
    pub names: NamesArgs,
}

#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// Kill those that run
    #[arg(long, short = 'f')]
    pub force: bool,
    #[command(flatten)]
    pub names: NamesArgs,
}

#[derive(Debug, Args)]
pub struct StartArgs {
    /// Print what the command writes, pass signals on, and end with its exit code
    #[arg(long, short = 'a')]
    pub attach: bool,
    /// Pass standard input on
    #[arg(long, short = 'i')]
    pub interactive: bool,
    #[command(flatten)]
    pub names: NamesArgs,
}

#[derive(Debug, Args)]
pub struct AttachArgs {
    /// Do not pass standard input on
    #[arg(long)]
    pub no_stdin: bool,
    /// Do not pass signals on
    #[arg(long)]
    pub no_signals: bool,
    /// The sandbox
    pub name: String,
}

#[derive(Debug, Args)]
pub struct RenameArgs {
    /// The sandbox
    pub name: String,
    /// Its name from now on
    pub new: SandboxId,
}

#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Print what has happened since then: a time, or how long ago (10m)
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Print what happens until then, and end
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Print only events with container, image, event, label or isolation like this
    #[arg(long, short = 'f', value_name = "KEY=VALUE")]
    pub filter: Vec<String>,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Remove only those like this (see `bulkhead ps`)
    #[arg(long, value_name = "KEY=VALUE")]
    pub filter: Vec<Filter>,
}

#[derive(Debug, Args)]
pub struct StatsArgs {
    /// The sandboxes [default: all that run]
    pub names: Vec<String>,
    /// Print once, also on a terminal, where they are looked at every second
    #[arg(long)]
    pub no_stream: bool,
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct TopArgs {
    /// The sandbox
    pub name: String,
    #[command(flatten)]
    pub output: Output,
}

/// The verbs that deal with instances.
#[derive(Debug, Subcommand)]
pub enum LifeVerb {
    /// Make a sandbox, to be started later, and print its id
    Create(Box<RunArgs>),
    /// Start sandboxes that do not run
    Start(StartArgs),
    /// List sandboxes
    Ps(PsArgs),
    /// Print what a sandbox's command has written
    Logs(LogsArgs),
    /// Connect to the streams of a sandbox's command
    Attach(AttachArgs),
    /// Stop sandboxes: ask, wait, kill
    Stop(StopArgs),
    /// Stop sandboxes and start them again
    Restart(StopArgs),
    /// Send a signal to sandboxes' commands
    Kill(KillArgs),
    /// Hold the processes of sandboxes where they are
    Pause(NamesArgs),
    /// Let them go on
    Unpause(NamesArgs),
    /// Wait for sandboxes to have ended and print their exit codes
    Wait(NamesArgs),
    /// Remove sandboxes that do not run
    Rm(RemoveArgs),
    /// Remove all sandboxes that do not run
    Prune(PruneArgs),
    /// Give a sandbox another name
    Rename(RenameArgs),
    /// Print all that is known of sandboxes, as JSON
    Inspect(NamesArgs),
    /// List the processes in a sandbox
    Top(TopArgs),
    /// Print what happens to sandboxes
    Events(EventsArgs),
}
