//! `bulkhead advise`: which wall for a workload, and why.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use bulkhead_bench::{Stop, observe};
use bulkhead_image::spec::RunOptions;
use bulkhead_microvm::RootDisk;
use bulkhead_reports::advice::{self, Advice, Evidence, Needs};
use bulkhead_reports::schema::Results;
use bulkhead_reports::units::Unit;
use bulkhead_reports::{self as reports, StoreError};
use bulkhead_runtime::{Availability, Isolation};

use crate::args::{AdviseArgs, NeedsArgs, PrivilegeArgs, TrustArgs};
use crate::context::{Context, Guest};
use crate::failure::Failure;
use crate::signals::Signals;
use crate::stdout;

/// The last complete results, beside the images: advice is asked for in any
/// directory, and a report may have been moved.
const LAST: &str = "last-results.json";

pub fn run(context: &Context, args: &AdviseArgs) -> Result<ExitCode, Failure> {
    let mut needs = needs(&args.needs)?;
    if let Some(image) = &args.observe {
        needs = needs.or(observed(context, args, image)?);
    }
    let advice = advise(context, &needs, args.results.as_deref())?;
    if args.output.is_json() {
        stdout::json(&advice)?;
    } else {
        stdout::text(&advice.text())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the workload in a container and says on standard error what it asked for:
/// the needs that can be observed.
fn observed(context: &Context, args: &AdviseArgs, image: &str) -> Result<Needs, Failure> {
    let image = context.image(image)?;
    let options = RunOptions {
        args: args.command.clone(),
        memory_bytes: args.needs.memory,
        ..RunOptions::default()
    };
    let bundle = context.bundle(
        &image,
        Isolation::Container,
        RootDisk::default(),
        &options,
        &PrivilegeArgs::default(),
    )?;
    let runtime = context.runtime(Isolation::Container, Guest::default())?;
    let signals = Signals::ending()?;
    let never = AtomicBool::new(false);
    let stop = Stop::on_flag_or_descriptor(&never, signals.as_fd());
    let seen = observe::observe(&*runtime, &bundle, args.observe_for, stop)?;
    let calls = Unit::Count.show(seen.system_calls_per_second.round());
    let memory = seen.peak_memory_bytes.map(mebibytes);
    eprintln!(
        "bulkhead: observed in a container: started in {:.1?}, ran for {:.1?} ({}), {calls} \
         system calls a second ({} in all), {} at most",
        seen.start.unwrap_or_default(),
        seen.ran,
        match seen.exit_code {
            Some(code) => format!("exit code {code}"),
            None => "until it was stopped".to_owned(),
        },
        seen.system_calls,
        memory.map_or("memory unknown".to_owned(), |mib| format!("{mib:.1} MiB of memory")),
    );
    Ok(Needs {
        system_calls_per_second: Some(seen.system_calls_per_second),
        memory_mib: memory,
        ..Needs::default()
    })
}

/// The needs of the flags, and of the file where the flags say nothing.
fn needs(args: &NeedsArgs) -> Result<Needs, Failure> {
    let flags = Needs {
        start_within_ms: args.start_within.map(|limit| limit.as_secs_f64() * 1e3),
        memory_mib: args.memory.map(mebibytes),
        system_calls_per_second: args.system_calls,
        count: args.count,
        host_features: args.host_feature.clone(),
        ..Needs::default()
    };
    trusted(&args.trust, flags)
}

/// `flags` with the trust and the file of the options both verbs have.
fn trusted(args: &TrustArgs, flags: Needs) -> Result<Needs, Failure> {
    let flags = Needs { trust: args.trust.map(Into::into), ..flags };
    let Some(path) = &args.needs else { return Ok(flags) };
    let hint = || format!("the needs are in {}", path.display());
    let text = fs::read_to_string(path).map_err(|e| Failure::new(e).hint(hint()))?;
    let file = Needs::parse(&text).map_err(|e| Failure::new(e).hint(hint()))?;
    Ok(flags.or(file))
}

/// The wall `bulkhead run --isolation auto` takes; says on standard error which and
/// why, on one line.
pub fn choose(
    context: &Context,
    args: &TrustArgs,
    memory: Option<u64>,
) -> Result<Isolation, Failure> {
    let flags = Needs { memory_mib: memory.map(mebibytes), ..Needs::default() };
    let needs = trusted(args, flags)?;
    let advice = advise(context, &needs, None)?;
    let missing = no_microvm(context)?;
    if let (advice::Wall::MicroVm, Some(reason)) = (advice.wall, missing) {
        // Only a need that nothing outweighs asks for a wall that is not there.
        let error = format!("this workload needs a microVM, and none can be started: {reason}");
        return Err(Failure::new(error).hint(
            "`bulkhead doctor` says how to get one; `--isolation container` takes the risk",
        ));
    }
    eprintln!("bulkhead: {}", advice.one_line());
    Ok(match advice.wall {
        advice::Wall::Container => Isolation::Container,
        advice::Wall::MicroVm => Isolation::MicroVm,
    })
}

fn advise(context: &Context, needs: &Needs, results: Option<&Path>) -> Result<Advice, Failure> {
    let results = match results {
        Some(path) => Some(reports::load(path)?),
        None => last(context)?,
    };
    let host = bulkhead_bench::host::describe();
    let missing = no_microvm(context)?;
    let evidence =
        Evidence { results: results.as_ref(), host: &host, no_microvm: missing.as_deref() };
    Ok(advice::advise(needs, &evidence))
}

/// Why no microVM can be started here, if so.
fn no_microvm(context: &Context) -> Result<Option<String>, Failure> {
    Ok(match context.runtime(Isolation::MicroVm, Guest::default())?.availability() {
        Availability::Ready => None,
        Availability::Unavailable(missing) => {
            Some(missing.into_iter().map(|it| it.what).collect::<Vec<_>>().join("; "))
        }
    })
}

/// Keeps the results of a complete run for later advice. A disk without room for
/// them must not fail the run they are of.
pub fn keep(context: &Context, results: &Results) {
    if results.run.partial {
        return;
    }
    let path = last_path(context);
    let saved = path.parent().map_or(Ok(()), fs::create_dir_all);
    let saved = saved.map_err(Failure::from);
    let saved = saved.and_then(|()| Ok(reports::save(&path, results)?));
    if saved.is_err() {
        eprintln!(
            "warning: `bulkhead advise` will not know these results: no {}",
            path.display()
        );
    }
}

fn last(context: &Context) -> Result<Option<Results>, StoreError> {
    let path = last_path(context);
    if !path.exists() {
        return Ok(None);
    }
    reports::load(&path).map(Some)
}

fn last_path(context: &Context) -> PathBuf {
    context.store().root().join(LAST)
}

#[expect(clippy::cast_precision_loss, reason = "bytes below 2^53")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}
