//! The boot timer: a page on which the guest reports milestones, each stamped
//! with the host's clock, and by which it powers the machine off.
//!
//! Register layout: [`bulkhead_guest::timer`].

use std::io;
use std::sync::Arc;

use bulkhead_guest::timer::{MILESTONE, Milestone, POWER_OFF};
use bulkhead_runtime::Clock;

use super::GuestEnd;
use super::bus::MmioDevice;
use super::virtio::registers;
use crate::kvm::{StatsFd, StatsReader};
use crate::timeline::SharedTimeline;

/// The device.
#[derive(Debug)]
pub struct BootTimer {
    timeline: Arc<SharedTimeline>,
    /// The statistics whose counters are kept with a milestone.
    stats: Stats,
}

/// Statistics whose layout is read when it is first needed: not before the guest's
/// first instruction, which would wait for it.
#[derive(Debug)]
enum Stats {
    Unread(Vec<StatsFd>),
    Read(Vec<StatsReader>),
}

impl BootTimer {
    /// A boot timer that stamps `timeline`, and keeps the counters of `stats` with
    /// it.
    #[must_use]
    pub fn new(timeline: Arc<SharedTimeline>, stats: Vec<StatsFd>) -> Self {
        Self { timeline, stats: Stats::Unread(stats) }
    }

    fn milestone(&mut self, clock: Clock) {
        self.timeline.mark(clock);
        // Counters that cannot be read must not cost the boot they would explain.
        if let Ok(values) = self.stats.values() {
            self.timeline.keep_counters(clock, &values);
        }
    }
}

impl Stats {
    fn values(&mut self) -> io::Result<Vec<u64>> {
        if let Self::Unread(fds) = self {
            let readers = fds.drain(..).map(|fd| StatsReader::new(fd.into()));
            *self = Self::Read(readers.collect::<io::Result<_>>()?);
        }
        let Self::Read(readers) = self else { return Ok(Vec::new()) };
        let mut values = Vec::new();
        for reader in readers {
            values.extend(reader.values()?);
        }
        Ok(values)
    }
}

impl MmioDevice for BootTimer {
    fn read(&mut self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Option<GuestEnd> {
        let value = registers::store(data);
        match usize::try_from(offset).ok()? {
            MILESTONE => {
                match Milestone::from_register(value)? {
                    Milestone::KernelDone => self.milestone(Clock::KernelDone),
                    Milestone::AgentReady => self.timeline.agent_ready(),
                    Milestone::Refreshed => self.milestone(Clock::AgentReady),
                    Milestone::WorkloadExec => self.milestone(Clock::WorkloadExec),
                    // The session carries the exit itself, with its status.
                    Milestone::WorkloadExit => {}
                }
                None
            }
            POWER_OFF => Some(GuestEnd::PowerOff(value)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milestones_are_stamped_and_power_off_ends_the_machine() {
        let timeline = Arc::new(SharedTimeline::anonymous().unwrap());
        let mut timer = BootTimer::new(timeline.clone(), Vec::new());
        assert_eq!(timer.write(0, &1_u32.to_le_bytes()), None);
        assert_eq!(timer.write(0, &99_u32.to_le_bytes()), None);
        assert_eq!(timer.write(0x800, &1_u32.to_le_bytes()), None);
        assert!(timeline.get(Clock::KernelDone).is_some());
        assert!(timeline.get(Clock::WorkloadExec).is_none());
        assert_eq!(timer.write(4, &0_u32.to_le_bytes()), Some(GuestEnd::PowerOff(0)));
    }
}
