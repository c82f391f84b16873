//! How much the process may use.

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxDeviceCgroupBuilder, LinuxMemory, LinuxPidsBuilder,
    LinuxResources, LinuxThrottleDeviceBuilder,
};

use super::{RunOptions, SpecError, Throttle, Ulimit};

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
    let mut resources = changes(options)?;
    resources.set_devices(Some(vec![no_devices]));
    Ok(resources)
}

/// The limits asked for and nothing else: what changes for a sandbox that runs.
///
/// # Errors
///
/// [`SpecError`] says which limit is no use.
pub fn changes(options: &RunOptions) -> Result<LinuxResources, SpecError> {
    let mut resources = LinuxResources::default();
    resources.set_devices(None);
    resources.set_memory(memory(options)?);
    resources.set_cpu(cpu(options)?);
    if let Some(limit) = options.pids_limit {
        let limit = signed(limit, 1, "processes")?;
        resources.set_pids(Some(LinuxPidsBuilder::default().limit(limit).build()?));
    }
    resources.set_block_io(block_io(&options.limits)?);
    Ok(resources)
}

fn memory(options: &RunOptions) -> Result<Option<LinuxMemory>, SpecError> {
    let limits = &options.limits;
    let mut memory = LinuxMemory::default();
    if let Some(bytes) = options.memory_bytes {
        let limit = signed(bytes, MIN_MEMORY, "bytes of memory")?;
        // Of memory and swap together: a limit is a limit.
        memory.set_limit(Some(limit)).set_swap(Some(limit));
    }
    match limits.memory_swap {
        None => {}
        Some(Swap::Unlimited) => drop(memory.set_swap(Some(-1))),
        Some(Swap::Bytes(total)) => {
            let least = options.memory_bytes.ok_or(SpecError::SwapWithoutMemory)?;
            memory.set_swap(Some(signed(total, least, "bytes of memory and swap")?));
        }
    }
    if let Some(bytes) = limits.memory_reservation {
        let most = options.memory_bytes.unwrap_or(u64::MAX);
        if bytes > most {
            return Err(SpecError::Limit { limit: bytes, unit: "bytes of memory reserved" });
        }
        memory.set_reservation(Some(signed(bytes, 1, "bytes of memory reserved")?));
    }
    Ok((memory != LinuxMemory::default()).then_some(memory))
}

fn cpu(options: &RunOptions) -> Result<Option<LinuxCpu>, SpecError> {
    let mut cpu = LinuxCpu::default();
    if let Some(cpus) = options.cpus {
        let quota = quota(cpus).ok_or(SpecError::Cpus(cpus))?;
        cpu.set_quota(Some(quota)).set_period(Some(u64::from(PERIOD_US)));
    }
    cpu.set_shares(options.limits.cpu_shares);
    cpu.set_cpus(options.limits.cpuset_cpus.clone());
    Ok((cpu != LinuxCpu::default()).then_some(cpu))
}

fn block_io(limits: &Limits) -> Result<Option<LinuxBlockIo>, SpecError> {
    let mut block_io = LinuxBlockIo::default();
    block_io.set_weight(limits.blkio_weight);
    let devices = |throttles: &[Throttle]| -> Result<_, SpecError> {
        if throttles.is_empty() {
            return Ok(None);
        }
        let device = |throttle: &Throttle| -> Result<_, SpecError> {
            let (major, minor) = throttle.device()?;
            let device = LinuxThrottleDeviceBuilder::default().major(major).minor(minor);
            Ok(device.rate(throttle.rate).build()?)
        };
        Ok(Some(throttles.iter().map(device).collect::<Result<Vec<_>, _>>()?))
    };
    block_io.set_throttle_read_bps_device(devices(&limits.read_bps)?);
    block_io.set_throttle_write_bps_device(devices(&limits.write_bps)?);
    block_io.set_throttle_read_iops_device(devices(&limits.read_iops)?);
    block_io.set_throttle_write_iops_device(devices(&limits.write_iops)?);
    Ok((block_io != LinuxBlockIo::default()).then_some(block_io))
}

/// Limits that few ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory and swap together.
    pub memory_swap: Option<Swap>,
    /// Memory that is left to it when others need some, in bytes.
    pub memory_reservation: Option<u64>,
    /// Its share of processor time when others want some, 1024 being usual.
    pub cpu_shares: Option<u64>,
    /// The processors it may run on, as `0-2,5`.
    pub cpuset_cpus: Option<String>,
    /// Its share of disk time when others want some, 10 to 1000.
    pub blkio_weight: Option<u16>,
    /// Bytes read from a device in a second.
    pub read_bps: Vec<Throttle>,
    /// Bytes written.
    pub write_bps: Vec<Throttle>,
    /// Reads.
    pub read_iops: Vec<Throttle>,
    /// Writes.
    pub write_iops: Vec<Throttle>,
    /// Resource limits of the process.
    pub ulimits: Vec<Ulimit>,
    /// Size of `/dev/shm`, in bytes.
    pub shm_bytes: Option<u64>,
    /// Its rank for being killed when memory is short, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
}

/// A limit of memory and swap together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// None.
    Unlimited,
    /// So many bytes.
    Bytes(u64),
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
