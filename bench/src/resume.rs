//! Going on where an interrupted run stopped.
//!
//! Samples may only be put together if they were taken under the same
//! conditions: whatever the results say about those is compared.

use std::time::Duration;

use bulkhead_reports::schema::{Host, Results, RuntimeInfo};

use crate::sampling::Track;
use crate::workloads::{Samples, Tracks};

/// Why a run cannot go on where an earlier one stopped.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ResumeError {
    /// There is nothing left to measure.
    #[error("that run was not interrupted: its results are complete")]
    Complete,
    /// Something that decides about figures has changed since.
    #[error(
        "the {what} was `{then}` and is now `{now}`: samples of both cannot be put together"
    )]
    Differs {
        /// What differs.
        what: &'static str,
        /// As it was when the run began.
        then: String,
        /// As it is now.
        now: String,
    },
}

/// Takes over what `earlier` measured into a run of the frame `now`, which from
/// then on tells of both.
pub fn take_over(
    earlier: &Results,
    now: &mut Results,
) -> Result<(Samples, Tracks), ResumeError> {
    if !earlier.run.partial {
        return Err(ResumeError::Complete);
    }
    for ((what, then), (_, current)) in conditions(earlier).into_iter().zip(conditions(now)) {
        if then != current {
            return Err(ResumeError::Differs { what, then, now: current });
        }
    }
    now.run.started.clone_from(&earlier.run.started);
    now.run.command.clone_from(&earlier.run.command);
    now.run.duration_seconds = earlier.run.duration_seconds;
    now.effort.clone_from(&earlier.effort);
    now.effort.resumed += 1;
    let samples = Samples {
        boot: earlier.boot.clone(),
        density: earlier.density.clone(),
        syscalls: earlier.syscalls.clone(),
        measurements: earlier.measurements.clone(),
        outcomes: earlier.outcomes.clone(),
        attempts: earlier.attempts.clone(),
        surfaces: earlier.surfaces.clone(),
        omitted: earlier
            .omitted
            .iter()
            .filter(|omission| omission.reason != crate::run::INTERRUPTED)
            .cloned()
            .collect(),
        memory_reading: Duration::ZERO,
    };
    Ok((samples, tracks(earlier)))
}

fn tracks(earlier: &Results) -> Tracks {
    let track = |workload: &bulkhead_reports::schema::WorkloadEffort| Track {
        begun: workload.blocks_begun,
        finished: workload.blocks_finished,
        // A file may say anything; a time that is none counts as none spent.
        elapsed: Duration::try_from_secs_f64(workload.seconds).unwrap_or_default(),
        complete: workload.complete,
        tallies: Vec::new(),
    };
    let workloads = earlier.effort.workloads.iter();
    workloads.map(|workload| (workload.workload.clone(), track(workload))).collect()
}

/// What decides about figures, each with its name.
fn conditions(results: &Results) -> [(&'static str, String); 13] {
    let Host { cpu_model, cpus, memory_bytes, kernel, os, cgroups, virtualised: _, kvm } =
        &results.host;
    // Whether the guest's kernel is emulated is only known after measuring.
    let kvm = kvm.as_ref().map_or_else(
        || "none".to_owned(),
        |kvm| format!("{}, API {}", kvm.flavour, kvm.api_version),
    );
    let run = &results.run;
    let runtimes: Vec<String> = results.runtimes.iter().map(runtime).collect();
    [
        ("version of bulkhead", run.tool_version.clone()),
        ("processor", format!("{cpus} x {cpu_model}")),
        ("memory of the host, in bytes,", memory_bytes.to_string()),
        ("kernel of the host", kernel.clone()),
        ("system of the host", os.clone()),
        ("cgroup version", cgroups.clone()),
        ("KVM", kvm),
        ("image", format!("{} {}", run.image, run.image_digest)),
        ("guest kernel", run.guest_kernel.clone().unwrap_or_else(|| "none".to_owned())),
        ("list of runtimes", runtimes.join(", ")),
        ("profile", run.profile.clone()),
        ("seed", run.seed.to_string()),
        (
            "bound of the run",
            format!(
                "{:?} {:?}",
                results.effort.exact_blocks, results.effort.time_budget_seconds
            ),
        ),
    ]
}

fn runtime(info: &RuntimeInfo) -> String {
    let absent = if info.unavailable.is_empty() { "" } else { " (absent)" };
    format!("{} {} {}{absent}", info.name, info.isolation, info.version)
}
