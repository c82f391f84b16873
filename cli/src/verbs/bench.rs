//! `bulkhead bench`: the main job, from a bare machine to a report.

mod task;
pub mod templates;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use bulkhead_bench::{BenchConfig, Candidate, Extent, Progress, Stop};
use bulkhead_kernels::KernelImage;
use bulkhead_reports::schema::Results;

use crate::args::{BenchArgs, BenchVerb};
use crate::contenders::{Common, Contender, PACKAGED_PEERS, PEER_PACKAGES, RuntimeChoice};
use crate::context::Context;
use crate::failure::{Failure, code};
use crate::keeper::{self, Keeper};
use crate::packages;
use crate::progress::Bar;
use crate::signals::Signals;
use crate::verbs::{advise, host, kernel};
use task::Task;
use templates::Templates;

/// Packages the microVM's disk is made with.
const PACKAGES: &[&str] = &["erofs-utils"];

/// Where the probe is in its image.
pub const PROBE: &str = "/probe";

pub fn run(context: &Context, args: &BenchArgs) -> Result<ExitCode, Failure> {
    if let Some(BenchVerb::Host { output }) = &args.verb {
        return host::run(output);
    }
    let Some(directory) = &args.resume else { return measure(context, args, None) };
    let (earlier, first) = keeper::interrupted(directory)?;
    let args = BenchArgs { out: Some(directory.clone()), output: args.output, ..first };
    measure(context, &args, Some(earlier))
}

/// Makes a run, or the rest of `earlier`.
fn measure(
    context: &Context,
    args: &BenchArgs,
    earlier: Option<Results>,
) -> Result<ExitCode, Failure> {
    let task = Task::of(args);
    let choices = choices(args, &task)?;
    // Before anything is installed or built for it.
    let image = context.image(task.image)?;
    let (kernel, left_out) = prepare(context, args, &choices)?;
    let options = task.options();
    let signals = Signals::ending()?;
    let bar = Bar::steps();
    let templates = Templates::new(context, signals.as_fd(), &bar);
    let common = Common {
        context,
        image: &image,
        options: &options,
        kernel: kernel.as_deref(),
        left_out: left_out.as_deref(),
        privileges: &args.privileges,
        templates: &templates,
    };
    let mut contenders: Vec<Contender> = Vec::new();
    for start in task.starts(args) {
        for choice in &choices {
            contenders.extend(common.contender(choice, start)?);
        }
    }
    let candidates: Vec<Candidate<'_>> = contenders.iter().map(Contender::candidate).collect();

    let seed = match &earlier {
        Some(earlier) => earlier.run.seed,
        None => args.seed.unwrap_or_else(random_seed),
    };
    let config = BenchConfig {
        workloads: task.workloads.clone(),
        profile: task.profile,
        extent: match (args.samples, args.time_budget) {
            (Some(count), _) => Extent::Blocks(count),
            (None, Some(time)) => Extent::Time(time),
            (None, None) => Extent::Profile,
        },
        seed,
        // Without KVM there is nothing to profile, which the report says by itself.
        virtualisation: match &earlier {
            Some(Results { virtualisation: Some(profile), .. }) => Some(profile.clone()),
            _ => host::measure(seed).ok(),
        },
        earlier,
        program: PROBE.to_owned(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        command: command_line(),
        image: task.image.to_owned(),
        image_digest: image.digest().to_string(),
        guest_kernel: kernel.as_deref().map(describe).transpose()?,
    };
    let never = AtomicBool::new(false);
    let stop = Stop::on_flag_or_descriptor(&never, signals.as_fd());
    let keeper = Keeper::new(args.out.clone(), &bar);
    let results = bulkhead_bench::run(&config, &candidates, stop, &bar, &keeper);
    bar.clear();
    let results = results?;
    keeper.present(&results, args.output.is_json() || task.is_json())?;
    if !task.is_custom() {
        advise::keep(context, &results);
    }
    if results.run.partial {
        if let Some(directory) = keeper.chosen() {
            eprintln!("To go on: bulkhead bench --resume {}", directory.display());
        }
        return Ok(ExitCode::from(code::INTERRUPTED));
    }
    Ok(task.verdict(&results))
}

/// The command line, without the place where the program happens to be: results
/// are made to be shown to others.
fn command_line() -> Vec<String> {
    let program = env!("CARGO_BIN_NAME").to_owned();
    std::iter::once(program).chain(std::env::args().skip(1)).collect()
}

/// The runtimes asked for in one way or another. Peers are installed first, if
/// that was asked for.
fn choices(args: &BenchArgs, task: &Task<'_>) -> Result<Vec<RuntimeChoice>, Failure> {
    let mut choices = args.runtimes.clone();
    if choices.is_empty() {
        choices.extend(task.runtimes.iter().copied().map(RuntimeChoice::own));
    }
    if args.install_peers {
        packages::ensure(PEER_PACKAGES, args.packages.no_install)?;
        for name in PACKAGED_PEERS {
            if let Ok(peer) = name.parse()
                && !choices.contains(&peer)
            {
                choices.push(peer);
            }
        }
    }
    choices.extend(args.oci_runtime.iter().cloned().map(RuntimeChoice::File));
    Ok(choices)
}

/// Installs and builds what the chosen runtimes need: the guest kernel, and why
/// the microVM has to be left out if it has.
fn prepare(
    context: &Context,
    args: &BenchArgs,
    choices: &[RuntimeChoice],
) -> Result<(Option<PathBuf>, Option<String>), Failure> {
    if !choices.iter().any(RuntimeChoice::needs_kernel) {
        return Ok((None, None));
    }
    // No kernel is built for a microVM that could not be started with it.
    if !Path::new("/dev/kvm").exists() {
        let reason = "there is no /dev/kvm on this host";
        eprintln!("The microVM is left out: {reason}.");
        return Ok((None, Some(reason.to_owned())));
    }
    packages::ensure(PACKAGES, args.packages.no_install)?;
    let kernel = kernel::chosen(context, args.kernel.as_ref(), args.packages.no_install)?;
    Ok((Some(kernel), None))
}

/// The guest kernel for the record: its release and where it came from.
fn describe(path: &Path) -> Result<String, Failure> {
    let release = KernelImage::inspect(path)?.release.unwrap_or_else(|| "unknown".to_owned());
    let home = path.parent().and_then(Path::file_name).unwrap_or_default();
    Ok(format!("{release} ({})", home.to_string_lossy()))
}

/// The standard library seeds its hash tables from the kernel's random numbers.
fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

impl Progress for Bar {
    fn begin(&self, workload: &str, steps: u64) {
        Self::begin(self, workload.to_owned(), Some(steps));
    }

    fn advance(&self, done: u64, steps: u64) {
        self.set(done, steps);
    }

    fn message(&self, text: &str) {
        self.detail(text);
    }

    fn end(&self) {}
}
