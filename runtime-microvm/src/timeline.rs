//! The named clocks of one microVM, shared between the monitor that stamps
//! them and whoever reads them, as a small mapped file.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use bulkhead_runtime::{Clock, Instant, Timeline};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// One slot per clock, and one for the guest agent being ready.
const SLOTS: usize = Clock::ALL.len() + 1;
const AGENT_READY: usize = Clock::ALL.len();
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

    /// When `clock` was seen.
    #[must_use]
    pub fn get(&self, clock: Clock) -> Option<Instant> {
        self.seen(clock as usize)
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
    fn a_short_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("timeline");
        std::fs::write(&path, [0; 8]).unwrap();
        assert!(SharedTimeline::open(&path).is_err());
    }
}
