//! How much the process may use.

use oci_spec::runtime::{
    LinuxCpuBuilder, LinuxDeviceCgroupBuilder, LinuxMemoryBuilder, LinuxPidsBuilder,
    LinuxResources, LinuxResourcesBuilder,
};

use super::{RunOptions, SpecError};

/// Period in which CPU time is given out, in microseconds: the kernel's default.
const PERIOD_US: u32 = 100_000;

/// Shortest share of a period, in microseconds: the kernel's
/// `min_cfs_quota_period`.
const MIN_QUOTA_US: f64 = 1_000.0;

/// Least memory, in bytes, as docker has it: with less, nothing starts.
const MIN_MEMORY: u64 = 6 * 1024 * 1024;

/// The limits asked for; and no devices but those every container has, which
/// the runtime adds to this rule.
pub(super) fn resources(options: &RunOptions) -> Result<LinuxResources, SpecError> {
    let no_devices = LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build()?;
    let mut resources = LinuxResourcesBuilder::default().devices(vec![no_devices]);
    if let Some(bytes) = options.memory_bytes {
        let limit = signed(bytes, MIN_MEMORY, "bytes of memory")?;
        // Of memory and swap together: a limit is a limit.
        let memory = LinuxMemoryBuilder::default().limit(limit).swap(limit).build()?;
        resources = resources.memory(memory);
    }
    if let Some(cpus) = options.cpus {
        let quota = quota(cpus).ok_or(SpecError::Cpus(cpus))?;
        let cpu =
            LinuxCpuBuilder::default().quota(quota).period(u64::from(PERIOD_US)).build()?;
        resources = resources.cpu(cpu);
    }
    if let Some(limit) = options.pids_limit {
        let limit = signed(limit, 1, "processes")?;
        resources = resources.pids(LinuxPidsBuilder::default().limit(limit).build()?);
    }
    Ok(resources.build()?)
}

fn signed(limit: u64, least: u64, unit: &'static str) -> Result<i64, SpecError> {
    let error = SpecError::Limit { limit, unit };
    if limit < least { Err(error) } else { i64::try_from(limit).map_err(|_| error) }
}

/// Microseconds of CPU time in each period.
fn quota(cpus: f64) -> Option<i64> {
    let quota = (cpus * f64::from(PERIOD_US)).round();
    // Not a number fails the comparison, too.
    if !(quota >= MIN_QUOTA_US && quota < f64::from(i32::MAX)) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked above")]
    Some(quota as i64)
}
