//! A whole run: from runtimes and their bundles to results.

use std::error::Error;
use std::time::SystemTime;

use bulkhead_reports::schema::{
    BootSample, Effort, Host, Results, Run, RuntimeInfo, SCHEMA_VERSION, Start,
    VirtualisationKind, VirtualisationProfile,
};
use bulkhead_runtime::{Availability, Bundle, Clock, Isolation, Runtime};
use rand::SeedableRng;

use crate::draft::{Checkpoint, Draft};
use crate::profile::{Extent, Profile};
use crate::progress::Progress;
use crate::resume::{self, ResumeError};
use crate::sampling::Stopped;
use crate::sandbox::Contender;
use crate::statistics::{Generator, median, real};
use crate::stop::Stop;
use crate::summary::Summary;
use crate::workloads::{Bench, Samples, Tracks, Workload};
use crate::{budget, host, overhead, time};

/// Why a workload has no samples in a run that was interrupted.
pub const INTERRUPTED: &str = "the run was interrupted before it";

/// A guest kernel that needs this many instructions emulated to boot has all of
/// them emulated. With hardware virtualisation only accesses to devices are:
/// some thousands.
const EMULATED_KERNEL_INSTRUCTIONS: f64 = 500_000.0;

/// What is to be measured, and what the results say about the run.
#[derive(Debug, Clone)]
pub struct BenchConfig {
    /// What is measured, in this order.
    pub workloads: Vec<&'static dyn Workload>,
    /// How much is measured.
    pub profile: Profile,
    /// What bounds the run, if not the profile.
    pub extent: Extent,
    /// Results of an interrupted run to go on with.
    pub earlier: Option<Results>,
    /// Seed of every random choice.
    pub seed: u64,
    /// The probe's path in the image; beside it is a file `data` to read.
    pub program: String,
    /// Version of bulkhead.
    pub tool_version: String,
    /// The command line.
    pub command: Vec<String>,
    /// Name of the image with the probe.
    pub image: String,
    /// Digest of its manifest.
    pub image_digest: String,
    /// Guest kernel release and configuration hash, where a microVM takes part.
    pub guest_kernel: Option<String>,
    /// What this host's KVM costs, where there is one.
    pub virtualisation: Option<VirtualisationProfile>,
}

/// A runtime that was asked for.
#[derive(Clone, Copy)]
pub struct Candidate<'a> {
    /// The runtime.
    pub runtime: &'a dyn Runtime,
    /// Its version.
    pub version: &'a str,
    /// The image with the probe in the form it needs, or why there is none.
    pub bundle: Result<&'a Bundle, &'a str>,
    /// How its sandboxes are started. With [`Start::Warm`] the runtime itself sees to
    /// that; for [`Start::Pool`] it must be able to prepare sandboxes.
    pub start: Start,
}

impl Candidate<'_> {
    /// Its name in results.
    fn name(&self) -> String {
        self.start.named(self.runtime.name())
    }
}

impl std::fmt::Debug for Candidate<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Candidate")
            .field("name", &self.name())
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// A run that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// None of the runtimes can take part.
    #[error("nothing to measure: {}", .reasons.join("; "))]
    NoRuntime {
        /// What each lacks.
        reasons: Vec<String>,
    },
    /// Two runtimes of the same name could not be told apart in the results.
    #[error("two runtimes are called `{0}`")]
    SameName(String),
    /// The interrupted run was another one.
    #[error("cannot go on with the interrupted run")]
    Resume(#[from] ResumeError),
    /// What will be measured could not be kept.
    #[error("cannot keep results, so nothing was measured")]
    Checkpoint(#[source] Box<dyn Error + Send + Sync>),
}

/// Measures every workload with every candidate that can take part.
///
/// The process should have one thread while this runs: runtimes fork. When
/// `stop` asks for it the run ends early, with the samples taken until then.
///
/// # Errors
///
/// [`BenchError`]; a runtime that fails on the way is no error but an omission
/// in the results.
pub fn run(
    config: &BenchConfig,
    candidates: &[Candidate<'_>],
    stop: Stop<'_>,
    progress: &dyn Progress,
    checkpoint: &dyn Checkpoint,
) -> Result<Results, BenchError> {
    let candidates = baseline_first(candidates)?;
    let runtimes: Vec<RuntimeInfo> = candidates.iter().map(info).collect();
    let named: Vec<String> = candidates.iter().map(Candidate::name).collect();
    let contenders = contenders(&candidates, &runtimes, &named)?;
    let not_after = |last| contenders.iter().filter(|it| it.start <= last).count();
    let (cold, unprepared) = (not_after(Start::Cold), not_after(Start::Warm));
    let names: Vec<String> = contenders.iter().map(|c| c.name().to_owned()).collect();
    let twice = cheapest_wall(&contenders);
    let mut frame = frame(config, runtimes);
    let (samples, tracks) = match &config.earlier {
        Some(earlier) => resume::take_over(earlier, &mut frame)?,
        None => (Samples::default(), Tracks::new()),
    };
    if let (true, Some(first)) =
        (frame.effort.request_to_call_ns.is_empty(), contenders.first())
    {
        frame.effort.request_to_call_ns = overhead::request_to_call_ns(first.bundle, stop);
    }

    let mut bench = Bench {
        contenders,
        cold,
        unprepared,
        twice,
        program: &config.program,
        emulates_guest_kernel: config
            .virtualisation
            .as_ref()
            .is_some_and(|profile| profile.kind == VirtualisationKind::Emulated),
        profile: match config.extent {
            Extent::Blocks(count) => config.profile.with_blocks(count),
            Extent::Profile | Extent::Time(_) => config.profile,
        },
        seed: config.seed,
        until: None,
        stop,
        progress,
        draft: Draft::new(frame, checkpoint),
        samples,
        tracks,
    };
    // Where nothing can be kept is better found out now than in an hour.
    bench.draft.save(&bench.samples, &bench.tracks).map_err(BenchError::Checkpoint)?;
    let partial = measure(&config.workloads, &mut bench, config.extent).is_err();

    // A generator of its own: the figures can be computed again from the samples.
    let mut generator = Generator::seed_from_u64(config.seed);
    let twice = twice.map(|index| names[index].as_str());
    let summary = Summary { runtimes: &names, samples: &bench.samples, twice };
    let tables = summary.tables(&mut generator);
    let fits = summary.fits();
    let mut results = bench.draft.with(bench.samples, &bench.tracks);
    note_emulation(&mut results.host, results.virtualisation.as_ref(), &results.boot);
    results.run.partial = partial;
    results.noise = tables.noise;
    results.cells = tables.cells;
    results.ratios = tables.ratios;
    results.fits = fits;
    Ok(results)
}

/// Results as far as they are known before anything is measured.
fn frame(config: &BenchConfig, runtimes: Vec<RuntimeInfo>) -> Results {
    let (exact_blocks, time_budget) = match config.extent {
        Extent::Profile => (None, None),
        Extent::Blocks(count) => (Some(count), None),
        Extent::Time(budget) => (None, Some(budget.as_secs())),
    };
    Results {
        schema_version: SCHEMA_VERSION,
        run: Run {
            tool_version: config.tool_version.clone(),
            command: config.command.clone(),
            started: time::rfc3339(SystemTime::now()),
            duration_seconds: 0,
            profile: config.profile.name.to_owned(),
            seed: config.seed,
            partial: false,
            image: config.image.clone(),
            image_digest: config.image_digest.clone(),
            guest_kernel: config.guest_kernel.clone(),
        },
        host: host::describe(),
        runtimes,
        boot: vec![],
        density: vec![],
        syscalls: vec![],
        measurements: vec![],
        outcomes: vec![],
        noise: vec![],
        virtualisation: config.virtualisation.clone(),
        attempts: vec![],
        surfaces: vec![],
        cells: vec![],
        ratios: vec![],
        fits: vec![],
        omitted: vec![],
        effort: Effort { exact_blocks, time_budget_seconds: time_budget, ..Effort::default() },
    }
}

fn measure(
    workloads: &[&'static dyn Workload],
    bench: &mut Bench<'_>,
    extent: Extent,
) -> Result<(), Stopped> {
    let result = match extent {
        Extent::Time(budget) => budget::spend(bench, workloads, budget),
        Extent::Profile | Extent::Blocks(_) => workloads.iter().try_for_each(|workload| {
            // What an earlier part of the run has completed is not begun again.
            let track = bench.tracks.get(workload.name());
            if track.is_some_and(|track| track.complete) {
                return Ok(());
            }
            workload.measure(bench)
        }),
    };
    if result.is_err() {
        for workload in workloads {
            if !bench.tracks.contains_key(workload.name()) {
                for contender in &bench.contenders[..bench.cold] {
                    let reason = INTERRUPTED.to_owned();
                    bench.samples.omit(workload.name(), contender.name(), reason);
                }
            }
        }
    }
    result
}

/// The runtime to compare with itself: a container, which is a wall and starts
/// quickly, else whatever starts most quickly.
fn cheapest_wall(contenders: &[Contender<'_>]) -> Option<usize> {
    let rank = |contender: &Contender<'_>| match contender.runtime.isolation() {
        Isolation::Container => 0,
        Isolation::Native => 1,
        Isolation::MicroVm => 2,
    };
    (0..contenders.len()).min_by_key(|&index| rank(&contenders[index]))
}

/// The bare process is what the others are compared with; without it, whoever
/// was named first. Other ways of starting follow all that start cold.
fn baseline_first<'a>(candidates: &[Candidate<'a>]) -> Result<Vec<Candidate<'a>>, BenchError> {
    let mut sorted = candidates.to_vec();
    sorted.sort_by_key(|candidate| {
        (candidate.start, candidate.runtime.isolation() != Isolation::Native)
    });
    for (index, candidate) in sorted.iter().enumerate() {
        let name = candidate.name();
        if sorted[..index].iter().any(|other| other.name() == name) {
            return Err(BenchError::SameName(name));
        }
    }
    Ok(sorted)
}

fn info(candidate: &Candidate<'_>) -> RuntimeInfo {
    let mut unavailable: Vec<String> = match candidate.runtime.availability() {
        Availability::Ready => Vec::new(),
        Availability::Unavailable(missing) => missing
            .into_iter()
            .map(|missing| format!("{}: {}", missing.what, missing.remedy))
            .collect(),
    };
    // Without the runtime there may be no bundle for the same reason.
    let other = |reason: &&str| !unavailable.iter().any(|said| said.starts_with(*reason));
    let bundle = candidate.bundle.err().filter(other).map(str::to_owned);
    unavailable.extend(bundle);
    if candidate.start == Start::Pool && !candidate.runtime.capabilities().prepare {
        unavailable.push("a pool: it prepares no sandboxes here".to_owned());
    }
    RuntimeInfo {
        name: candidate.name(),
        isolation: candidate.runtime.isolation().to_string(),
        version: candidate.version.to_owned(),
        unavailable,
        runtime: (candidate.start != Start::Cold).then(|| candidate.runtime.name().to_owned()),
        start: candidate.start,
    }
}

/// Those that can take part.
fn contenders<'a>(
    candidates: &[Candidate<'a>],
    runtimes: &[RuntimeInfo],
    names: &'a [String],
) -> Result<Vec<Contender<'a>>, BenchError> {
    let ready: Vec<Contender<'a>> = candidates
        .iter()
        .zip(runtimes)
        .zip(names)
        .filter(|((_, info), _)| info.unavailable.is_empty())
        .filter_map(|((&Candidate { runtime, bundle, start, .. }, _), name)| {
            Some(Contender { name, runtime, bundle: bundle.ok()?, start })
        })
        .collect();
    if ready.is_empty() {
        let reason =
            |info: &RuntimeInfo| format!("{} lacks {}", info.name, info.unavailable.join(", "));
        return Err(BenchError::NoRuntime { reasons: runtimes.iter().map(reason).collect() });
    }
    Ok(ready)
}

/// Whether the guest kernel is emulated is decided by what was measured, and by what
/// was counted, where anything was: a module's name is only a guess.
fn note_emulation(
    host: &mut Host,
    profile: Option<&VirtualisationProfile>,
    boot: &[BootSample],
) {
    let measured = profile.map(|it| it.kind).filter(|&it| it != VirtualisationKind::Unknown);
    if let (Some(kvm), Some(kind)) = (&mut host.kvm, measured) {
        kvm.emulates_guest_kernel = kind == VirtualisationKind::Emulated;
    }
    // What goes on from a snapshot has its kernel's boot behind it.
    let booted =
        |sample: &&BootSample| sample.clocks_ns.contains_key(Clock::KernelDone.as_str());
    let counted: Vec<f64> = boot
        .iter()
        .filter(booted)
        .filter_map(|sample| sample.kvm.get("insn_emulation"))
        .map(|&count| real(count))
        .collect();
    if let (Some(kvm), Some(emulated)) = (&mut host.kvm, median(&counted)) {
        kvm.emulates_guest_kernel = emulated > EMULATED_KERNEL_INSTRUCTIONS;
    }
}
