//! Many sandboxes asked for at the same moment: 1, 2, 4, ….

mod starter;

use std::time::{Duration, Instant};

use bulkhead_runtime::Bundle;

use super::{Bench, Sheet, Taking, Workload};
use crate::profile::Profile;
use crate::sampling::Stopped;
use crate::sandbox::{Contender, SampleError};
use crate::statistics::median;
use crate::stop::Stop;
use bulkhead_runtime::memory;
use starter::{Starters, Up};

/// Starts more and more idle programs at once. The first one up stays until
/// the last one is: they compete for the host as they would in earnest.
#[derive(Debug, Clone, Copy)]
pub struct Storm;

const NAME: &str = "storm";

impl Workload for Storm {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "k sandboxes asked for at once, for rising k: each one's first output, and the last"
    }

    fn measure(&self, bench: &mut Bench<'_>) -> Result<(), Stopped> {
        bench.interleave_starts_once(NAME, bench.profile.storm.climbs, climb)
    }
}

/// One storm after the other, each of twice as many.
fn climb(mut taking: Taking<'_>) -> Result<(), SampleError> {
    let Taking { contender, program, profile, stop, .. } = taking;
    let bundle = contender.bundle_running(&[program, "idle"]);
    let start = Instant::now();
    let mut count = 1;
    loop {
        let begun = Instant::now();
        let ups = storm(contender, &bundle, count, profile, stop)?;
        record(&ups, count, &mut taking.sheet(NAME));
        count *= 2;
        if count > profile.storm.max {
            return Ok(());
        }
        // Twice as many take about twice as long.
        let reason = if start.elapsed() + 2 * begun.elapsed() > profile.storm.budget {
            format!("they would have taken more than {} s", profile.storm.budget.as_secs())
        } else if !enough_memory(&bundle, count, profile)? {
            format!("less than {} MiB would be left", profile.density.reserve_bytes >> 20)
        } else {
            continue;
        };
        taking.samples.omit(
            NAME,
            contender.name(),
            format!("{count} at once were not tried: {reason}"),
        );
        return Ok(());
    }
}

/// Starts `count` sandboxes at once and takes them down again.
fn storm(
    contender: Contender<'_>,
    bundle: &Bundle,
    count: u32,
    profile: &Profile,
    stop: Stop<'_>,
) -> Result<Vec<Up>, SampleError> {
    let mut starters = Starters::fork(contender, bundle, count, profile.sandbox_timeout)?;
    stop.sleep(profile.idle_before_start);
    starters.go();
    let ups = starters.wait_until_up(profile.sandbox_timeout, stop)?;
    starters.take_down(profile.sandbox_timeout)?;
    Ok(ups)
}

/// Sandboxes of one storm share the host and are one sample, not several.
fn record(ups: &[Up], count: u32, sheet: &mut Sheet<'_>) {
    let seconds = |up: &Up| up.first_output.since(up.request).as_secs_f64();
    let own: Vec<f64> = ups.iter().map(seconds).collect();
    let typical = median(&own).map(Duration::from_secs_f64);
    sheet.time(format!("{count} at once: median first_output"), typical);
    let first_request = ups.iter().map(|up| up.request).min();
    let last = ups.iter().map(|up| up.first_output).max();
    let all = last.zip(first_request).map(|(last, first)| last.since(first));
    sheet.time(format!("{count} at once: last first_output"), all);
}

/// Whether all of them may use all they are allowed to.
fn enough_memory(bundle: &Bundle, count: u32, profile: &Profile) -> Result<bool, SampleError> {
    let limit = bundle
        .spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.resources().as_ref()?.memory().as_ref()?.limit())
        .and_then(|limit| u64::try_from(limit).ok())
        .unwrap_or(0);
    let needed = limit.saturating_mul(count.into());
    let left = memory::available_bytes()?.saturating_sub(needed);
    Ok(left >= profile.density.reserve_bytes)
}
