//! The named clocks of one microVM, and KVM's counters at some of them, shared
//! between the monitor that stamps them and whoever reads them, as a small mapped
//! file.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use bulkhead_runtime::{Clock, Instant, Timeline};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

const AGENT_READY: usize = Clock::ALL.len();
/// Behind the clocks and the guest agent being ready: KVM's counters at each of
/// [`COUNTED`], their number first.
const COUNTERS: usize = AGENT_READY + 1;
/// Clocks at which the counters are kept. Before the first instruction there is
/// nothing to count, and at the exit they can be read directly.
const COUNTED: [Clock; 3] = [Clock::KernelDone, Clock::AgentReady, Clock::WorkloadExec];
/// Most counters kept, those of the VM and of its processor together; KVM has
/// some 70. With them the file still fits one page.
const MAX_COUNTERS: usize = 160;
/// Every slot.
const SLOTS: usize = COUNTERS + COUNTED.len() * (1 + MAX_COUNTERS);
/// Length of the file, bytes.
const FILE_LEN: usize = SLOTS * size_of::<u64>();

/// A timeline in shared memory. Zero in a slot means "not seen yet".
#[derive(Debug)]
pub struct SharedTimeline {
    slots: NonNull<AtomicU64>,
}

// SAFETY: the mapping is of atomics only, and lives as long as the value.
unsafe impl Send for SharedTimeline {}
// SAFETY: as above; all access is by atomic operations.
unsafe impl Sync for SharedTimeline {}

impl SharedTimeline {
    /// Makes the file.
    ///
    /// # Errors
    ///
    /// When it cannot be made or mapped.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file =
            File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        file.set_len(FILE_LEN as u64)?;
        Self::map(&file)
    }

    /// Maps an existing file.
    ///
    /// # Errors
    ///
    /// When it is not there, or too short to be one.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        if file.metadata()?.len() < FILE_LEN as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Self::map(&file)
    }

    /// A timeline that nobody else sees.
    ///
    /// # Errors
    ///
    /// When there is no memory.
    pub fn anonymous() -> io::Result<Self> {
        let length = NonZeroUsize::new(FILE_LEN).ok_or(io::ErrorKind::InvalidInput)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh mapping chosen by the kernel; nothing else points into it.
        let slots = unsafe { mmap_anonymous(None, length, access, MapFlags::MAP_PRIVATE) }?;
        Ok(Self { slots: slots.cast() })
    }

    fn map(file: &File) -> io::Result<Self> {
        let length = NonZeroUsize::new(FILE_LEN).ok_or(io::ErrorKind::InvalidInput)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh mapping chosen by the kernel. The file is as long as the
        // mapping and is never shortened; it is only accessed by atomics.
        let slots = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, file, 0) }?;
        Ok(Self { slots: slots.cast() })
    }

    fn slot(&self, index: usize) -> &AtomicU64 {
        debug_assert!(index < SLOTS);
        // SAFETY: `index` is a clock or AGENT_READY, so within the mapping, which is
        // page-aligned and lives as long as `self`.
        unsafe { self.slots.add(index).as_ref() }
    }

    fn stamp(&self, index: usize) {
        let now = Instant::now().as_nanos();
        // The first stamp stays.
        let _ = self.slot(index).compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn seen(&self, index: usize) -> Option<Instant> {
        match self.slot(index).load(Ordering::Relaxed) {
            0 => None,
            nanoseconds => Some(Instant::from_nanos(nanoseconds)),
        }
    }

    /// Stamps `clock`, unless it was seen before.
    pub fn mark(&self, clock: Clock) {
        self.stamp(clock as usize);
    }

    /// Forgets everything seen so far.
    pub fn forget(&self) {
        for index in 0..SLOTS {
            self.slot(index).store(0, Ordering::Relaxed);
        }
    }

    /// When `clock` was seen.
    #[must_use]
    pub fn get(&self, clock: Clock) -> Option<Instant> {
        self.seen(clock as usize)
    }

    /// Keeps KVM's counters as they were at `clock`, unless they were kept before or
    /// are not kept at this clock.
    pub fn keep_counters(&self, clock: Clock, values: &[u64]) {
        let Some(base) = counters_of(clock) else { return };
        if self.slot(base).load(Ordering::Acquire) != 0 || values.len() > MAX_COUNTERS {
            return;
        }
        for (slot, value) in (base + 1..).zip(values) {
            self.slot(slot).store(*value, Ordering::Relaxed);
        }
        // Last: a reader that sees their number sees them.
        self.slot(base).store(values.len() as u64, Ordering::Release);
    }

    /// KVM's counters at each clock at which they were kept.
    pub fn counters(&self) -> impl Iterator<Item = (Clock, Vec<u64>)> {
        COUNTED.into_iter().filter_map(|clock| {
            let base = counters_of(clock)?;
            let count = usize::try_from(self.slot(base).load(Ordering::Acquire)).ok()?;
            let slots = base + 1..=base + count.min(MAX_COUNTERS);
            let values = slots.map(|slot| self.slot(slot).load(Ordering::Relaxed)).collect();
            (count > 0).then_some((clock, values))
        })
    }

    /// Stamps that the guest agent has prepared the guest.
    pub fn agent_ready(&self) {
        self.stamp(AGENT_READY);
    }

    /// When the guest agent had prepared the guest.
    #[must_use]
    pub fn agent_ready_at(&self) -> Option<Instant> {
        self.seen(AGENT_READY)
    }

    /// Copies everything seen so far into `timeline`.
    pub fn copy_into(&self, timeline: &mut Timeline) {
        for clock in Clock::ALL {
            if let Some(instant) = self.get(clock) {
                timeline.mark_at(clock, instant);
            }
        }
    }
}

/// The slots of the counters at `clock`.
fn counters_of(clock: Clock) -> Option<usize> {
    let index = COUNTED.iter().position(|counted| *counted == clock)?;
    Some(COUNTERS + index * (1 + MAX_COUNTERS))
}

impl Drop for SharedTimeline {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, of this length, and no reference into it
        // outlives `self`.
        let _ = unsafe { munmap(self.slots.cast(), FILE_LEN) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_side_stamps_and_the_other_reads() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("timeline");
        let monitor = SharedTimeline::create(&path).unwrap();
        let reader = SharedTimeline::open(&path).unwrap();
        assert_eq!(reader.get(Clock::KernelDone), None);
        monitor.mark(Clock::KernelDone);
        let first = reader.get(Clock::KernelDone).unwrap();
        monitor.mark(Clock::KernelDone);
        assert_eq!(reader.get(Clock::KernelDone), Some(first));
        monitor.agent_ready();
        assert!(reader.agent_ready_at().unwrap() >= first);
        let mut timeline = Timeline::default();
        reader.copy_into(&mut timeline);
        assert_eq!(timeline.iter().count(), 1);
    }

    #[test]
    fn counters_are_kept_once_and_at_their_clock() {
        let timeline = SharedTimeline::anonymous().unwrap();
        assert_eq!(timeline.counters().count(), 0);
        timeline.keep_counters(Clock::WorkloadExec, &[1, 2, 3]);
        timeline.keep_counters(Clock::WorkloadExec, &[4]);
        timeline.keep_counters(Clock::Released, &[5]);
        timeline.keep_counters(Clock::KernelDone, &[0; MAX_COUNTERS + 1]);
        let kept: Vec<_> = timeline.counters().collect();
        assert_eq!(kept, [(Clock::WorkloadExec, vec![1, 2, 3])]);
        timeline.keep_counters(Clock::KernelDone, &[7; MAX_COUNTERS]);
        let kept: Vec<_> = timeline.counters().collect();
        assert_eq!(kept[0], (Clock::KernelDone, vec![7; MAX_COUNTERS]));
        assert_eq!(kept[1], (Clock::WorkloadExec, vec![1, 2, 3]));
        const { assert!(FILE_LEN <= 4096) };
    }

    #[test]
    fn a_short_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("timeline");
        std::fs::write(&path, [0; 8]).unwrap();
        assert!(SharedTimeline::open(&path).is_err());
    }
}
