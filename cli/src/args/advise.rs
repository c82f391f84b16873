//! `bulkhead advise`, and what `bulkhead run --isolation auto` shares with it.

use std::path::PathBuf;
use std::time::Duration;

use bulkhead_reports::advice;
use clap::{Args, ValueEnum, ValueHint};
use serde::{Deserialize, Serialize};

use super::Output;
use super::values::{duration, memory, rate};

/// What `bulkhead advise` and `bulkhead run --isolation auto` both go by.
#[derive(Debug, Clone, Default, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct TrustArgs {
    /// How far the code is trusted
    #[arg(long, value_enum, value_name = "TRUST", help_heading = "Choosing a wall")]
    pub trust: Option<Trust>,
    /// The workload's needs, as TOML (docs/advise.md)
    #[arg(
        long,
        value_name = "PATH",
        value_hint = ValueHint::FilePath,
        help_heading = "Choosing a wall"
    )]
    pub needs: Option<PathBuf>,
}

/// How far the code of a workload is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// Written by those who run it
    Own,
    /// Written by others, not expected to do harm
    ThirdParty,
    /// Written by anyone, expected to try
    Hostile,
}

impl From<Trust> for advice::Trust {
    fn from(trust: Trust) -> Self {
        match trust {
            Trust::Own => Self::Own,
            Trust::ThirdParty => Self::ThirdParty,
            Trust::Hostile => Self::Hostile,
        }
    }
}

#[derive(Debug, Args)]
pub struct AdviseArgs {
    #[command(flatten)]
    pub needs: NeedsArgs,
    /// Run this image in a container first, twice, and take from that its system
    /// calls and its memory
    #[arg(long, value_name = "IMAGE")]
    pub observe: Option<String>,
    /// Observe for this time at most: seconds, or with a suffix ms, s, m, h
    #[arg(
        long,
        value_parser = duration,
        value_name = "TIME",
        default_value = "10s",
        requires = "observe"
    )]
    pub observe_for: Duration,
    /// The command to observe and its arguments [default: the image's]
    #[arg(last = true, requires = "observe", value_name = "COMMAND")]
    pub command: Vec<String>,
    /// Results to go by [default: those of the last complete `bulkhead bench`]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub results: Option<PathBuf>,
    #[command(flatten)]
    pub output: Output,
}

/// The needs of a workload; what is not said is not known.
#[derive(Debug, Args)]
pub struct NeedsArgs {
    #[command(flatten)]
    pub trust: TrustArgs,
    /// Time from the request to the first output: seconds, or with a suffix ms, s, m, h
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub start_within: Option<Duration>,
    /// Memory of one instance: bytes, or with a suffix b, k, m, g
    #[arg(long, short = 'm', value_parser = memory, value_name = "SIZE")]
    pub memory: Option<u64>,
    /// System calls a second of one instance
    #[arg(long, value_parser = rate, value_name = "N")]
    pub system_calls: Option<f64>,
    /// Instances at the same time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub count: Option<u32>,
    /// A device or kernel feature of the host that it uses: /dev/fuse, ebpf, …
    #[arg(long, value_name = "NAME")]
    pub host_feature: Vec<String>,
}
