//! The control: what needs nothing of the kernel and should cost the same
//! behind every wall. A hash for the processor, two streams for the memory.

use std::fs;

use super::sheet::Counts;
use super::{Bench, Taking, Workload, lines};
use crate::sampling::Stopped;
use crate::sandbox::SampleError;

/// Runs `probe compute`, once in each of a number of fresh sandboxes.
#[derive(Debug, Clone, Copy)]
pub struct Compute;

const NAME: &str = "compute";

/// What the sandbox holds beside the memory that is streamed over: a guest's
/// kernel, and the probe.
const REST_MIB: u64 = 32;

impl Workload for Compute {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> &'static str {
        "a hash, and copy and triad over memory larger than a cache: no kernel involved"
    }

    fn measure(&self, bench: &mut Bench<'_>) -> Result<(), Stopped> {
        let level = if bench.emulates_guest_kernel { PRIVATE_LEVEL } else { LAST_LEVEL };
        let mib = stream_mib(largest_cache_bytes(level));
        bench.interleave(NAME, bench.profile.further, |taking| sample(taking, mib))
    }
}

fn sample(mut taking: Taking<'_>, mib: u64) -> Result<(), SampleError> {
    let Taking { contender, program, profile, stop, .. } = taking;
    let budget = profile.operation_budget_ms.to_string();
    let arguments = [program, "compute", &mib.to_string(), &budget];
    let bundle = contender.bundle_running_within(&arguments, (mib + REST_MIB) << 20);
    let lines = lines::read(contender.runtime, &bundle, profile, stop)?;
    let mut sheet = taking.sheet(NAME);
    for line in lines {
        let metric = match line.operation.as_str() {
            "hash" => "SHA-256 of 4 KiB".to_owned(),
            stream => format!("{stream} over {mib} MiB"),
        };
        sheet.line(&metric, Counts::Bytes, &line);
    }
    Ok(())
}

/// The level of the cache that all processors share, or one beyond.
const LAST_LEVEL: u8 = u8::MAX;

/// The last level of cache that a processor has to itself. Where a guest's kernel
/// is emulated each page it hands out takes milliseconds; memory larger than the
/// last level would take half a minute to get and be measured too few times.
const PRIVATE_LEVEL: u8 = 2;

/// Half as much again as a cache, rounded up to 6 MiB, so that halves and thirds
/// are whole: enough that nothing survives in it from one round to the next, no
/// more than that, because memory has to be got before it is measured.
fn stream_mib(cache_bytes: u64) -> u64 {
    (cache_bytes + cache_bytes / 2).div_ceil(1 << 20).next_multiple_of(6).max(6)
}

/// Where it is not said, what servers have at least.
const USUAL_CACHE_BYTES: u64 = 32 << 20;

/// The first processor's largest cache up to a level (sysfs-devices-system-cpu).
fn largest_cache_bytes(up_to_level: u8) -> u64 {
    let caches = fs::read_dir("/sys/devices/system/cpu/cpu0/cache").into_iter().flatten();
    let sizes = caches.flatten().filter_map(|cache| {
        let value = |name: &str| fs::read_to_string(cache.path().join(name)).ok();
        let level: u8 = value("level")?.trim().parse().ok()?;
        cache_bytes(&value("size")?).filter(|_| level <= up_to_level)
    });
    sizes.max().unwrap_or(USUAL_CACHE_BYTES)
}

/// `32768K`, as sysfs writes it.
fn cache_bytes(size: &str) -> Option<u64> {
    let kibibytes: u64 = size.trim().strip_suffix('K')?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_exceeds_the_cache_in_halves_and_thirds() {
        for cache_mib in [1, 8, 32, 33, 260] {
            let mib = stream_mib(cache_mib << 20);
            assert!(mib > cache_mib && mib.is_multiple_of(6), "{mib}");
        }
        assert_eq!(stream_mib(32 << 20), 48);
    }

    #[test]
    fn sizes_are_read_as_sysfs_writes_them() {
        assert_eq!(cache_bytes("32768K\n"), Some(32 << 20));
        assert_eq!(cache_bytes("unknown"), None);
        assert!(largest_cache_bytes(LAST_LEVEL) >= largest_cache_bytes(PRIVATE_LEVEL));
    }
}
