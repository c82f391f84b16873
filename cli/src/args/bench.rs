//! `bulkhead bench` and what is below it.

use std::path::PathBuf;
use std::time::Duration;

use bulkhead_bench::{WORKLOADS, Workload};
use bulkhead_reports::schema::Start;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum, ValueHint};

use super::run::PrivilegeArgs;
use super::values::{duration, memory};
use super::{Output, Packages};
use crate::contenders::{OciProgram, RuntimeChoice};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub verb: Option<BenchVerb>,
    /// Measure as for publication: more samples, larger ladders
    #[arg(long, global = true)]
    pub full: bool,
    /// Which runtimes to compare, the baseline first: ours, and OCI runtimes on PATH by
    /// their names (crun, runc, …); our guest under qemu-microvm or firecracker; ours with
    /// its root filesystem mapped as microvm-pmem [default:
    /// native,container,microvm; of `custom`: container,microvm]
    #[arg(long, global = true, value_delimiter = ',')]
    pub runtimes: Vec<RuntimeChoice>,
    /// Which workloads to measure [default: all]
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "NAME",
        value_parser = workloads(),
        default_values = WORKLOADS.iter().map(|workload| workload.name()),
        hide_default_value = true,
    )]
    pub workloads: Vec<&'static dyn Workload>,
    /// How our own sandboxes are started, beside cold: microVMs warm, from a template made
    /// for the run; those that can be prepared from a pool, in `boot` and `custom` [default: cold; with
    /// --full: cold,warm,pool; of `custom`: cold]
    #[arg(long, global = true, value_delimiter = ',', value_name = "START", value_enum)]
    pub start: Vec<StartChoice>,
    /// A further OCI runtime by its file, for example `new=/opt/crun --debug`
    #[arg(
        long,
        global = true,
        value_name = "[NAME=]PATH [OPTION]",
        value_hint = ValueHint::FilePath,
    )]
    pub oci_runtime: Vec<OciProgram>,
    /// Install the peers that Debian has, and let them take part
    #[arg(long, global = true)]
    pub install_peers: bool,
    /// Directory for results and report [default: reports/runs/<time>]
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
    /// Seed of every random choice [default: random, recorded in the results]
    #[arg(long, global = true)]
    pub seed: Option<u64>,
    /// Measure exactly this many blocks of every workload that has blocks,
    /// however long they take
    #[arg(
        long,
        global = true,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..),
    )]
    pub samples: Option<u32>,
    /// Measure for this long, most where figures are least certain: seconds, or
    /// with a suffix ms, s, m, h
    #[arg(
        long,
        global = true,
        value_name = "TIME",
        value_parser = duration,
        conflicts_with = "samples",
    )]
    pub time_budget: Option<Duration>,
    /// Go on with the interrupted run whose results are in this directory
    #[arg(
        long,
        value_name = "DIR",
        value_hint = ValueHint::DirPath,
        conflicts_with_all =
            ["full", "runtimes", "workloads", "start", "oci_runtime", "install_peers", "out", "seed", "samples", "time_budget", "kernel",
             "cap_add", "cap_drop", "seccomp"],
    )]
    pub resume: Option<PathBuf>,
    /// Guest kernel of the microVM [default: the one `bulkhead kernel build` makes]
    #[arg(long, global = true, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub kernel: Option<PathBuf>,
    /// Of containers, to see what a privilege costs: `--workloads isolation`
    #[command(flatten)]
    pub privileges: PrivilegeArgs,
    #[command(flatten)]
    pub packages: Packages,
    #[command(flatten)]
    pub output: Output,
}

/// A way of starting, as the command line names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StartChoice {
    /// From nothing; always measured
    Cold,
    /// From a template: a microVM that has booted already
    Warm,
    /// Prepared, and waiting in a pool
    Pool,
    /// From a microVM that was saved when its application was ready
    App,
}

impl From<StartChoice> for Start {
    fn from(choice: StartChoice) -> Self {
        match choice {
            StartChoice::Cold => Self::Cold,
            StartChoice::Warm => Self::Warm,
            StartChoice::Pool => Self::Pool,
            StartChoice::App => Self::App,
        }
    }
}

/// What else the harness measures.
#[derive(Debug, Subcommand)]
pub enum BenchVerb {
    /// Compare any command in any image: time to exit, whether it does the same,
    /// memory and processor time as far as the runtime tells
    Custom(CustomArgs),
    /// Measure what the hypervisor costs on this host, without a guest kernel
    Host {
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Args)]
pub struct CustomArgs {
    /// Memory limit of a container, all the memory of a microVM, with docker's
    /// suffixes
    #[arg(long, short = 'm', value_parser = memory, value_name = "SIZE", default_value = "256m")]
    pub memory: u64,
    /// Call a run hung after this time
    #[arg(long, value_parser = duration, value_name = "TIME", default_value = "120s")]
    pub timeout: Duration,
    /// The image
    pub image: String,
    /// The command and its arguments [default: the image's]
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
    #[command(flatten)]
    pub output: Output,
}

/// A workload by its name.
fn workloads() -> impl TypedValueParser<Value = &'static dyn Workload> {
    let names = WORKLOADS.iter().map(|it| PossibleValue::new(it.name()).help(it.about()));
    PossibleValuesParser::new(names).try_map(|name| {
        let named = WORKLOADS.iter().find(|workload| workload.name() == name);
        named.copied().ok_or("no such workload")
    })
}
