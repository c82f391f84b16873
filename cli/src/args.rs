//! The command line, as types. No behaviour: what each verb does is in
//! `verbs/`.

use std::path::PathBuf;
use std::time::Duration;

use bulkhead_bench::{WORKLOADS, Workload};
use bulkhead_reports::advice;
use bulkhead_runtime::{Isolation, SandboxId};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

use crate::contenders::{OciProgram, RuntimeChoice};

/// Run one OCI image behind either of two walls, a namespace container or a KVM
/// microVM, and measure on this machine what each wall costs.
#[derive(Debug, Parser)]
#[command(name = "bulkhead", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "\
Examples:
  bulkhead image import --name debian debian-rootfs.tar
  bulkhead run debian cat /etc/os-release
  bulkhead run --isolation microvm --memory 256m debian uname -a
  bulkhead bench

Exit codes: 0 success, 1 failure, 2 wrong usage, 130 interrupted. `bulkhead run` passes the
workload's exit code on (128+n when signal n killed it) and follows docker for its own:
125 when the sandbox failed, 126 when the command cannot be executed, 127 when it is not
found; 124 when --timeout ran out.")]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Options of every verb.
#[derive(Debug, Args)]
pub struct Global {
    /// Directory of running sandboxes' state [default: /run/bulkhead, or
    /// $XDG_RUNTIME_DIR/bulkhead]
    #[arg(
        long,
        env = "BULKHEAD_ROOT",
        global = true,
        value_name = "DIR",
        help_heading = "Places"
    )]
    pub root: Option<PathBuf>,
    /// Directory of images [default: /var/lib/bulkhead, or $XDG_DATA_HOME/bulkhead]
    #[arg(
        long,
        env = "BULKHEAD_STORE",
        global = true,
        value_name = "DIR",
        help_heading = "Places"
    )]
    pub store: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a command in a new sandbox
    Run(Box<RunArgs>),
    /// Import, list, inspect and remove images
    #[command(subcommand)]
    Image(ImageVerb),
    /// Build, import and list guest kernels
    #[command(subcommand)]
    Kernel(KernelVerb),
    /// Measure native, container and microVM side by side and write a report
    Bench(BenchArgs),
    /// Render a report again from saved results
    Report(ReportArgs),
    /// Compare two results files: what changed beyond noise and what did not
    Compare(CompareArgs),
    /// Recommend a wall for a workload, with the measured reasons
    Advise(Box<AdviseArgs>),
    /// Say what this host can do, with a hint for each gap
    Doctor(DoctorArgs),
    /// Remove what killed sandboxes and imports left behind
    Gc(GcArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The wall: container, microvm, or auto to take the one `bulkhead advise` would
    #[arg(long, short = 'i', default_value = "container", value_parser = wall, value_name = "WALL")]
    pub isolation: WallChoice,
    #[command(flatten)]
    pub trust: TrustArgs,
    /// Set an environment variable; without a value, pass the caller's on
    #[arg(long, short = 'e', value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Working directory inside
    #[arg(long, short = 'w', value_name = "DIR")]
    pub workdir: Option<String>,
    /// User inside: name or uid, optionally with :group or :gid
    #[arg(long, short = 'u', value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Replace the image's entrypoint
    #[arg(long, value_name = "COMMAND")]
    pub entrypoint: Option<String>,
    /// Host name inside [default: the sandbox's name]
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Name of the sandbox [default: random]
    #[arg(long, value_name = "NAME")]
    pub name: Option<SandboxId>,
    /// Memory limit: bytes, or with a suffix b, k, m, g
    #[arg(long, short = 'm', value_parser = memory, value_name = "SIZE")]
    pub memory: Option<u64>,
    /// CPU limit in processors, for example 0.5
    #[arg(long, value_parser = cpus, value_name = "N")]
    pub cpus: Option<f64>,
    /// Limit of processes and threads
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub pids_limit: Option<u64>,
    #[command(flatten)]
    pub privileges: PrivilegeArgs,
    /// Make the root filesystem read-only
    #[arg(long)]
    pub read_only: bool,
    /// Run a minimal init as PID 1 that forwards signals and reaps orphans
    #[arg(long)]
    pub init: bool,
    /// Kill the sandbox after this time: seconds, or with a suffix ms, s, m, h
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub timeout: Option<Duration>,
    /// Guest kernel of the microVM, ELF vmlinux or bzImage [default: the one
    /// `bulkhead kernel build` made]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub kernel: Option<PathBuf>,
    /// Write the named clocks of this run to a file, as JSON
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub timeline: Option<PathBuf>,
    /// The image
    pub image: String,
    /// The command and its arguments [default: the image's]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// What the workload may do.
#[derive(Debug, Default, Args)]
pub struct PrivilegeArgs {
    /// Give a capability beyond the default ones; ALL gives every one
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_add: Vec<String>,
    /// Take a capability away; ALL takes every one
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_drop: Vec<String>,
    /// System call filter of a container: `default`, `unconfined`, or a file with
    /// `linux.seccomp` of the runtime-spec as JSON
    #[arg(long, value_name = "PROFILE", value_hint = ValueHint::FilePath)]
    pub seccomp: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum ImageVerb {
    /// Import an OCI image layout (directory or tar), a `docker save` archive or
    /// a root filesystem tar
    Import(ImportArgs),
    /// List images
    Ls {
        #[command(flatten)]
        output: Output,
    },
    /// Remove images by name or digest
    Rm {
        /// The images
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Print an image's manifest digest, configuration and layers as JSON
    Inspect {
        /// The image
        image: String,
    },
}

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Archive or directory
    #[arg(value_hint = ValueHint::AnyPath)]
    pub source: PathBuf,
    /// Name of the image [default: the archive's own, or its file name]
    #[arg(long, value_name = "NAME[:TAG]")]
    pub name: Option<String>,
    /// Default command of a root filesystem tar, split at spaces
    #[arg(long, value_name = "COMMAND")]
    pub cmd: Option<String>,
    /// Entrypoint of a root filesystem tar, split at spaces
    #[arg(long, value_name = "COMMAND")]
    pub entrypoint: Option<String>,
    /// Environment variable of a root filesystem tar
    #[arg(long, short = 'e', value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Working directory of a root filesystem tar
    #[arg(long, short = 'w', value_name = "DIR")]
    pub workdir: Option<String>,
    /// User of a root filesystem tar
    #[arg(long, short = 'u', value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Refuse an image that unpacks to more than this
    #[arg(long, value_parser = memory, value_name = "SIZE")]
    pub max_size: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub enum KernelVerb {
    /// Build the guest kernel from Debian's linux-source package, once
    Build {
        #[command(flatten)]
        packages: Packages,
    },
    /// List guest kernels
    Ls {
        #[command(flatten)]
        output: Output,
    },
    /// Check a kernel image and keep a copy of it
    Import {
        /// ELF vmlinux or bzImage
        #[arg(value_hint = ValueHint::FilePath)]
        path: PathBuf,
    },
}

/// How a verb prints what it found.
#[derive(Debug, Clone, Copy, Args)]
pub struct Output {
    /// For a person or for a program
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    format: Format,
    /// The same as --format json
    #[arg(long, hide = true, conflicts_with = "format")]
    json: bool,
}

impl Output {
    /// A program reads it.
    pub fn is_json(&self) -> bool {
        self.json || self.format == Format::Json
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Tables and sentences
    Text,
    /// JSON
    Json,
}

/// A form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Rendering {
    /// The summary for a terminal
    Text,
    /// One page that needs nothing else
    Html,
    /// Markdown
    Md,
    /// One line for each summary, for a spreadsheet
    Csv,
    /// The results themselves
    Json,
}

/// What to do about missing packages.
#[derive(Debug, Args)]
pub struct Packages {
    /// Do not install missing Debian packages; say which are needed and stop
    #[arg(long, global = true)]
    pub no_install: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub verb: Option<BenchVerb>,
    /// Measure as for publication: more samples, larger ladders
    #[arg(long, global = true)]
    pub full: bool,
    /// Which runtimes to compare, the baseline first: ours, and OCI runtimes on PATH by
    /// their names (crun, runc, …); our guest under qemu-microvm or firecracker [default:
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
            ["full", "runtimes", "workloads", "oci_runtime", "install_peers", "out", "seed", "samples", "time_budget", "kernel",
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

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// A results.json, or the directory that holds it
    #[arg(value_hint = ValueHint::AnyPath)]
    pub results: PathBuf,
    /// Directory for the report [default: beside the results]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: Option<PathBuf>,
    /// Print the report in this format instead of writing files
    #[arg(long, value_enum, value_name = "FORMAT", conflicts_with = "out")]
    pub format: Option<Rendering>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 compared, 1 a file cannot be read or compared, 2 wrong usage, 3 a metric got worse
by more than --fail-on-regression allows. Only what is worse beyond noise counts: the permutation
test adjusted for the number of metrics, the interval of the ratio and the noise floor must agree.")]
pub struct CompareArgs {
    /// The first results.json, or the directory that holds it
    #[arg(value_hint = ValueHint::AnyPath)]
    pub before: PathBuf,
    /// The second
    #[arg(value_hint = ValueHint::AnyPath)]
    pub after: PathBuf,
    /// End with exit code 3 when a metric got worse by more than this
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub fail_on_regression: Option<f64>,
    /// Write a page with both side by side
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub html: Option<PathBuf>,
    /// Print the comparison in this format
    #[arg(long, value_enum, default_value_t = Rendering::Text, value_name = "FORMAT")]
    pub format: Rendering,
}

/// What `bulkhead advise` and `bulkhead run --isolation auto` both go by.
#[derive(Debug, Args)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
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

#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct GcArgs {
    /// Only say what would be removed
    #[arg(long)]
    pub dry_run: bool,
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

/// A wall, or that one is to be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WallChoice {
    /// This one.
    Fixed(Isolation),
    /// The one that is advised.
    Auto,
}

fn wall(text: &str) -> Result<WallChoice, String> {
    if text == "auto" {
        return Ok(WallChoice::Auto);
    }
    match text.parse()? {
        Isolation::Native => {
            Err("a sandbox needs a wall: container, microvm or auto".to_owned())
        }
        wall => Ok(WallChoice::Fixed(wall)),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate >= 0.0 => Ok(rate),
        _ => Err("expected a number of system calls a second".to_owned()),
    }
}

/// `5%` or `5` as 0.05.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    match number.parse::<f64>() {
        Ok(percent) if percent.is_finite() && percent >= 0.0 => Ok(percent / 100.0),
        _ => Err("expected a percentage such as 5%".to_owned()),
    }
}

fn cpus(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(cpus) if cpus.is_finite() && cpus >= 0.01 => Ok(cpus),
        _ => Err("expected a number of processors of at least 0.01".to_owned()),
    }
}

/// Bytes, with docker's suffixes `b`, `k`, `m`, `g` (powers of 1024).
fn memory(text: &str) -> Result<u64, String> {
    let wrong = || "expected a size such as 67108864, 64m or 1g".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(unit).filter(|&bytes| bytes > 0).ok_or_else(wrong)
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a time such as 30, 1.5s, 200ms or 2m".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * unit).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_are_dockers() {
        assert_eq!(memory("64m"), Ok(64 << 20));
        assert_eq!(memory("1G"), Ok(1 << 30));
        assert_eq!(memory("4096"), Ok(4096));
        for wrong in ["", "m", "0", "-1", "64x", "1.5g", "99999999999g"] {
            assert!(memory(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn percentages_may_have_their_sign() {
        assert_eq!((percent("5%"), percent("5")), (Ok(0.05), Ok(0.05)));
        for wrong in ["", "%", "-1%", "five", "nan"] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "s", "-1s", "1d", "nan"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn everything_after_the_image_belongs_to_the_workload() {
        let cli =
            Cli::try_parse_from(["bulkhead", "run", "-e", "A=1", "img", "sh", "-c", "--"]);
        let Verb::Run(run) = cli.unwrap().verb else { panic!("not run") };
        assert_eq!((run.image.as_str(), run.env.len()), ("img", 1));
        assert_eq!(run.command, ["sh", "-c", "--"]);
    }

    #[test]
    fn native_is_no_wall_for_run() {
        assert!(Cli::try_parse_from(["bulkhead", "run", "-i", "native", "img"]).is_err());
    }
}
