//! The boot timer: a page on which the guest reports milestones, each stamped
//! with the host's clock, and by which it powers the machine off.
//!
//! Register layout: [`bulkhead_guest::timer`].

use std::sync::Arc;

use bulkhead_guest::timer::{MILESTONE, Milestone, POWER_OFF};
use bulkhead_runtime::Clock;

use super::GuestEnd;
use super::bus::MmioDevice;
use super::virtio::registers;
use crate::timeline::SharedTimeline;

/// The device.
#[derive(Debug)]
pub struct BootTimer {
    timeline: Arc<SharedTimeline>,
}

impl BootTimer {
    /// A boot timer that stamps `timeline`.
    #[must_use]
    pub fn new(timeline: Arc<SharedTimeline>) -> Self {
        Self { timeline }
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
                    Milestone::KernelDone => self.timeline.mark(Clock::KernelDone),
                    Milestone::AgentReady => self.timeline.agent_ready(),
                    Milestone::WorkloadExec => self.timeline.mark(Clock::WorkloadExec),
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
        let mut timer = BootTimer::new(timeline.clone());
        assert_eq!(timer.write(0, &1_u32.to_le_bytes()), None);
        assert_eq!(timer.write(0, &99_u32.to_le_bytes()), None);
        assert_eq!(timer.write(0x800, &1_u32.to_le_bytes()), None);
        assert!(timeline.get(Clock::KernelDone).is_some());
        assert!(timeline.get(Clock::WorkloadExec).is_none());
        assert_eq!(timer.write(4, &0_u32.to_le_bytes()), Some(GuestEnd::PowerOff(0)));
    }
}
