//! `bulkhead bench host`: what the hypervisor costs here, without an operating
//! system.

use std::process::ExitCode;

use bulkhead_bench::virtualisation::{self, RawFigure};
use bulkhead_microvm::profile;
use bulkhead_reports::schema::{Host, VirtualisationProfile};
use serde::Serialize;

use crate::args::Output;
use crate::failure::{Failure, chain};
use crate::stdout;

/// The profile and the machine it belongs to.
#[derive(Debug, Serialize)]
struct Profiled<'a> {
    host: &'a Host,
    virtualisation: &'a VirtualisationProfile,
}

pub fn run(output: &Output) -> Result<ExitCode, Failure> {
    let hint = "load kvm_intel or kvm_amd, or enable nested virtualisation; `bulkhead doctor` \
                says what is here";
    let profile = measure(0).map_err(|error| Failure::new(error).hint(hint))?;
    let host = bulkhead_bench::host::describe();
    if output.is_json() {
        let profiled = Profiled { host: &host, virtualisation: &profile };
        stdout::json(&profiled)?;
    } else {
        stdout::text(&bulkhead_reports::virtualisation::text(&profile, &host))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Measures this host, in about a second; `seed` is that of the intervals.
///
/// The machinery of a microVM takes the samples and the harness judges them:
/// neither knows the other.
pub fn measure(seed: u64) -> Result<VirtualisationProfile, profile::ProfileError> {
    let raw: Vec<RawFigure> = profile::measure()?
        .into_iter()
        .map(|series| RawFigure {
            name: series.name.to_owned(),
            unit: series.unit.to_owned(),
            samples: series.samples.map_err(|error| chain(&error)),
        })
        .collect();
    Ok(virtualisation::profile(&raw, seed))
}
