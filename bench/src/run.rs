//! A whole run: from runtimes and their bundles to results.

use std::time::{Instant, SystemTime};

use bulkhead_reports::schema::{
    BootSample, Host, Omission, Results, Run, RuntimeInfo, SCHEMA_VERSION,
};
use bulkhead_runtime::{Availability, Bundle, Isolation, Runtime};
use rand::SeedableRng;

use crate::profile::Profile;
use crate::progress::Progress;
use crate::sandbox::Contender;
use crate::statistics::{Generator, median};
use crate::stop::Stop;
use crate::summary::Summary;
use crate::workloads::{Bench, Boot, Density, Samples, Syscalls, Workload};
use crate::{host, time};

/// A guest kernel that needs this many instructions emulated to boot has all of
/// them emulated. With hardware virtualisation only accesses to devices are:
/// some thousands.
const EMULATED_KERNEL_INSTRUCTIONS: f64 = 500_000.0;

/// What is to be measured, and what the results say about the run.
#[derive(Debug, Clone)]
pub struct BenchConfig {
    /// How much is measured.
    pub profile: Profile,
    /// Seed of every random choice.
    pub seed: u64,
    /// The probe's path in the image.
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
}

impl std::fmt::Debug for Candidate<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Candidate")
            .field("runtime", &self.runtime.name())
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
) -> Result<Results, BenchError> {
    let (started, clock) = (SystemTime::now(), Instant::now());
    let candidates = baseline_first(candidates)?;
    let runtimes: Vec<RuntimeInfo> = candidates.iter().map(info).collect();
    let contenders = contenders(&candidates, &runtimes)?;
    let names: Vec<String> = contenders.iter().map(|c| c.name().to_owned()).collect();
    let mut host = host::describe();

    let mut bench = Bench {
        contenders,
        program: &config.program,
        profile: config.profile,
        generator: Generator::seed_from_u64(config.seed),
        stop,
        progress,
        samples: Samples::default(),
    };
    let partial = measure(&mut bench).is_err();
    let samples = bench.samples;

    note_emulation(&mut host, &samples.boot);
    // A generator of its own: the figures can be computed again from the samples.
    let mut generator = Generator::seed_from_u64(config.seed);
    let summary = Summary { runtimes: &names, samples: &samples, noise_floor: 0.0 };
    let (cells, ratios) = summary.tables(&mut generator);
    let fits = summary.fits();
    Ok(Results {
        schema_version: SCHEMA_VERSION,
        run: Run {
            tool_version: config.tool_version.clone(),
            command: config.command.clone(),
            started: time::rfc3339(started),
            duration_seconds: clock.elapsed().as_secs(),
            profile: config.profile.name.to_owned(),
            seed: config.seed,
            partial,
            image: config.image.clone(),
            image_digest: config.image_digest.clone(),
            guest_kernel: config.guest_kernel.clone(),
        },
        host,
        runtimes,
        boot: samples.boot,
        density: samples.density,
        syscalls: samples.syscalls,
        measurements: samples.measurements,
        noise: vec![],
        virtualisation: None,
        attempts: vec![],
        surfaces: vec![],
        cells,
        ratios,
        fits,
        omitted: samples.omitted,
    })
}

fn measure(bench: &mut Bench<'_>) -> Result<(), crate::sampling::Stopped> {
    let workloads: [&dyn Workload; 3] = [&Boot, &Syscalls, &Density];
    for (done, workload) in workloads.iter().enumerate() {
        if let Err(stopped) = workload.measure(bench) {
            let reason = "the run was interrupted before it".to_owned();
            for later in &workloads[done + 1..] {
                for contender in &bench.contenders {
                    bench.samples.omitted.push(Omission {
                        workload: later.name().to_owned(),
                        runtime: contender.name().to_owned(),
                        reason: reason.clone(),
                    });
                }
            }
            return Err(stopped);
        }
    }
    Ok(())
}

/// The bare process is what the others are compared with; without it, whoever
/// was named first.
fn baseline_first<'a>(candidates: &[Candidate<'a>]) -> Result<Vec<Candidate<'a>>, BenchError> {
    let mut sorted = candidates.to_vec();
    sorted.sort_by_key(|candidate| candidate.runtime.isolation() != Isolation::Native);
    for (index, candidate) in sorted.iter().enumerate() {
        let name = candidate.runtime.name();
        if sorted[..index].iter().any(|other| other.runtime.name() == name) {
            return Err(BenchError::SameName(name.to_owned()));
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
    unavailable.extend(candidate.bundle.err().map(str::to_owned));
    RuntimeInfo {
        name: candidate.runtime.name().to_owned(),
        isolation: candidate.runtime.isolation().to_string(),
        version: candidate.version.to_owned(),
        unavailable,
    }
}

/// Those that can take part.
fn contenders<'a>(
    candidates: &[Candidate<'a>],
    runtimes: &[RuntimeInfo],
) -> Result<Vec<Contender<'a>>, BenchError> {
    let ready: Vec<Contender<'a>> = candidates
        .iter()
        .zip(runtimes)
        .filter(|(_, info)| info.unavailable.is_empty())
        .filter_map(|(candidate, _)| {
            Some(Contender { runtime: candidate.runtime, bundle: candidate.bundle.ok()? })
        })
        .collect();
    if ready.is_empty() {
        let reason =
            |info: &RuntimeInfo| format!("{} lacks {}", info.name, info.unavailable.join(", "));
        return Err(BenchError::NoRuntime { reasons: runtimes.iter().map(reason).collect() });
    }
    Ok(ready)
}

/// Whether the guest kernel is emulated is decided by what was counted, where
/// anything was: a module's name is only a guess.
fn note_emulation(host: &mut Host, boot: &[BootSample]) {
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    let counted: Vec<f64> = boot
        .iter()
        .filter_map(|sample| sample.kvm.get("insn_emulation"))
        .map(|&count| count as f64)
        .collect();
    if let (Some(kvm), Some(emulated)) = (&mut host.kvm, median(&counted)) {
        kvm.emulates_guest_kernel = emulated > EMULATED_KERNEL_INSTRUCTIONS;
    }
}
