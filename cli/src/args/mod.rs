//! The command line, as types. No behaviour: what each verb does is in
//! `verbs/`.

mod advise;
mod bench;
mod build;
mod exec;
mod lifecycle;
mod limits;
mod network;
mod pool;
mod registry;
mod run;
mod snapshot;
mod terminal;
mod values;
mod volume;

use std::path::PathBuf;

use bulkhead_image::UnpackLimits;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

pub use self::advise::{AdviseArgs, NeedsArgs, TrustArgs};
pub use self::bench::{BenchArgs, BenchVerb, CustomArgs};
pub use self::build::{BuildArgs, PullChoice};
pub use self::exec::ExecArgs;
pub use self::lifecycle::{
    AttachArgs, EventsArgs, KillArgs, LifeArgs, LifeVerb, LogsArgs, NamesArgs, PruneArgs,
    PsArgs, RemoveArgs, StartArgs, StatsArgs, StopArgs, TopArgs,
};
pub use self::limits::UpdateArgs;
pub use self::network::{NetworkArgs, NetworkVerb, PortArgs};
pub use self::pool::{FillArgs, PoolVerb};
pub use self::registry::{LoginArgs, LogoutArgs, PullArgs, PushArgs, RegistryArgs};
pub use self::run::{PrivilegeArgs, RootDiskChoice, RunArgs, WallChoice};
pub use self::snapshot::{
    ApplicationArgs, MachineArgs, ReadyArgs, ReadyChoice, SnapshotVerb, TemplateVerb,
};
pub use self::terminal::TerminalArgs;
use self::values::{memory, percent};
pub use self::volume::{CreateVolumeArgs, MountArgs, VolumeVerb};

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
found; 124 when --timeout ran out. A reader of the output that goes away (`| head -1`) is no
failure.")]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

/// The command line of `bulkhead run` and nothing else.
#[derive(Debug, Parser)]
#[command(name = "bulkhead")]
struct RunAlone {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: OnlyRun,
}

#[derive(Debug, Subcommand)]
enum OnlyRun {
    Run(Box<RunArgs>),
}

/// The command line of `bulkhead exec` and nothing else.
#[derive(Debug, Parser)]
#[command(name = "bulkhead")]
struct ExecAlone {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: OnlyExec,
}

#[derive(Debug, Subcommand)]
enum OnlyExec {
    Exec(Box<ExecArgs>),
}

impl Cli {
    /// The command line of this process; one that cannot be understood, or asks for help,
    /// ends it.
    ///
    /// What describes all the other verbs is not made for a `run` or an `exec`, whose
    /// time and memory it would be a good part of.
    pub fn of_process() -> Self {
        let is = |name: &str| std::env::args_os().nth(1).is_some_and(|verb| verb == name);
        if is("run")
            && let Ok(RunAlone { global, verb: OnlyRun::Run(args) }) = RunAlone::try_parse()
        {
            return Self { global, verb: Verb::Run(args) };
        }
        if is("exec")
            && let Ok(ExecAlone { global, verb: OnlyExec::Exec(args) }) = ExecAlone::try_parse()
        {
            return Self { global, verb: Verb::Exec(args) };
        }
        Self::parse()
    }
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

impl Global {
    /// These places.
    pub fn at(root: PathBuf, store: PathBuf) -> Self {
        Self { root: Some(root), store: Some(store) }
    }
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run a command in a new sandbox
    Run(Box<RunArgs>),
    /// Run a further command in a running sandbox
    Exec(Box<ExecArgs>),
    #[command(flatten)]
    Life(LifeVerb),
    /// Change limits of running sandboxes
    Update(Box<UpdateArgs>),
    /// Import, save, list, inspect and remove images
    #[command(subcommand)]
    Image(ImageVerb),
    /// Build an image from a Dockerfile
    Build(Box<BuildArgs>),
    /// Bring images in from registries
    Pull(PullArgs),
    /// Send an image to a registry
    Push(PushArgs),
    /// Keep a user and password for a registry, where docker keeps them
    Login(LoginArgs),
    /// Forget those kept for a registry
    Logout(LogoutArgs),
    /// Make, list, inspect and remove volumes: data that outlives sandboxes
    #[command(subcommand)]
    Volume(VolumeVerb),
    /// Build, import and list guest kernels
    #[command(subcommand)]
    Kernel(KernelVerb),
    /// Prepare sandboxes for runs to come, list and remove them
    #[command(subcommand)]
    Pool(PoolVerb),
    /// Build, list and remove templates: microVMs that have booted, or whose application
    /// has started, and wait for work
    #[command(subcommand)]
    Template(TemplateVerb),
    /// Keep microVMs under a name, to go on from them
    #[command(subcommand)]
    Snapshot(SnapshotVerb),
    /// Make, list and remove networks that sandboxes share
    #[command(subcommand)]
    Network(NetworkVerb),
    /// Say where the ports of a sandbox are shown on the host
    Port(PortArgs),
    /// Say what running sandboxes use: memory, processor time, processes
    Stats(StatsArgs),
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
    /// Give an image a further name
    Tag {
        /// The image
        image: String,
        /// The name, which is taken from whatever has it
        name: String,
    },
    /// Write images to an archive, which docker, podman, skopeo and `image import` read
    Save(SaveArgs),
    /// Show how an image came to be, newest step first
    History {
        /// The image
        image: String,
        #[command(flatten)]
        output: Output,
    },
    /// Show how much room images take, and how much of it they share
    Df {
        #[command(flatten)]
        output: Output,
    },
    /// Remove what no image needs any more, and the cache of builds
    Prune,
}

#[derive(Debug, Args)]
pub struct SaveArgs {
    /// The images
    #[arg(required = true)]
    pub images: Vec<String>,
    /// The archive [default: standard output, unless that is a terminal]
    #[arg(long, short, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
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
    #[command(flatten)]
    pub unpack: UnpackArgs,
}

/// What is taken of an image that is not trusted.
#[derive(Debug, Args)]
pub struct UnpackArgs {
    /// Refuse an image that unpacks to more than this
    #[arg(long, value_parser = memory, value_name = "SIZE")]
    max_size: Option<u64>,
}

impl UnpackArgs {
    /// The limits with what is said here.
    pub fn limits(&self) -> UnpackLimits {
        let usual = UnpackLimits::default();
        UnpackLimits { max_bytes: self.max_size.unwrap_or(usual.max_bytes), ..usual }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_run_is_read_the_same_without_the_other_verbs() {
        RunAlone::command().debug_assert();
        let line =
            ["bulkhead", "run", "-it", "--root", "/r", "-m", "64m", "img", "sh", "-c", "--"];
        let Cli { global, verb } = Cli::try_parse_from(line).unwrap();
        let Verb::Run(run) = verb else { panic!("not run") };
        let RunAlone { global: again, verb: OnlyRun::Run(alone) } =
            RunAlone::try_parse_from(line).unwrap();
        assert_eq!(format!("{global:?} {run:?}"), format!("{again:?} {alone:?}"));
    }

    #[test]
    fn an_exec_is_read_the_same_without_the_other_verbs() {
        ExecAlone::command().debug_assert();
        let line =
            ["bulkhead", "exec", "-it", "--root", "/r", "-u", "1", "box", "sh", "-c", "-i"];
        let Cli { global, verb } = Cli::try_parse_from(line).unwrap();
        let Verb::Exec(exec) = verb else { panic!("not exec") };
        let ExecAlone { global: again, verb: OnlyExec::Exec(alone) } =
            ExecAlone::try_parse_from(line).unwrap();
        assert_eq!(format!("{global:?} {exec:?}"), format!("{again:?} {alone:?}"));
        assert_eq!(alone.command, ["sh", "-c", "-i"]);
    }

    #[test]
    fn everything_after_the_image_belongs_to_the_workload() {
        let cli =
            Cli::try_parse_from(["bulkhead", "run", "-e", "A=1", "img", "sh", "-c", "--"]);
        let Verb::Run(run) = cli.unwrap().verb else { panic!("not run") };
        assert_eq!((run.image.as_str(), run.process.env.len()), ("img", 1));
        assert_eq!(run.command, ["sh", "-c", "--"]);
    }

    #[test]
    fn native_is_no_wall_for_run() {
        assert!(
            Cli::try_parse_from(["bulkhead", "run", "--isolation", "native", "img"]).is_err()
        );
    }

    #[test]
    fn a_run_is_kept_and_read_again() {
        let line = ["bulkhead", "run", "-i", "microvm", "--timeout", "2s", "-e", "A=1", "img"];
        let Verb::Run(run) = Cli::try_parse_from(line).unwrap().verb else { panic!("not run") };
        let kept = serde_json::to_string(&run).unwrap();
        let again: RunArgs = serde_json::from_str(&kept).unwrap();
        assert_eq!(format!("{run:?}"), format!("{again:?}"));
        // One that was kept before an option existed.
        let old: RunArgs = serde_json::from_str(r#"{"image": "img"}"#).unwrap();
        let asked = Cli::try_parse_from(["bulkhead", "run", "img"]).unwrap();
        let Verb::Run(plain) = asked.verb else { panic!("not run") };
        assert_eq!(format!("{old:?}"), format!("{:?}", *plain));
    }
}
