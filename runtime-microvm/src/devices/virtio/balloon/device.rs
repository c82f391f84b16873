//! The queues of the balloon.

use super::{BalloonMetrics, F_REPORTING, ID, REPORTS};
use crate::devices::virtio::{Chain, Malformed, Notify, VirtQueue, VirtioDevice};
use crate::kvm::GuestRam;

/// Sizes of the queues for inflating, deflating and reports. Linux reports up to 32
/// runs of pages at a time and refuses a queue that does not hold them
/// (`PAGE_REPORTING_CAPACITY`, linux/page_reporting.h).
const QUEUE_SIZES: [u16; 3] = [4, 4, 32];
/// Configuration: pages wanted, pages given, both u32, both for ever zero.
const CONFIG: [u8; 8] = [0; 8];
/// Unit of the host's memory, bytes.
const PAGE: usize = 4096;

/// The device.
#[derive(Debug, Default)]
pub struct Balloon {
    metrics: BalloonMetrics,
}

impl Balloon {
    /// A balloon that takes back what the guest reports.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What it did so far.
    #[must_use]
    pub fn metrics(&self) -> BalloonMetrics {
        self.metrics
    }

    /// Gives the pages of a report back to the host. They read as something else
    /// afterwards, zeros or what they were mapped from, as the guest has agreed to.
    fn reclaim(&mut self, report: &Chain<'_>) {
        let pages = report.writable();
        for run in pages.iovecs(0, pages.len()) {
            let start = run.iov_base.addr().next_multiple_of(PAGE);
            let end = (run.iov_base.addr() + run.iov_len) / PAGE * PAGE;
            let Some(len) = end.checked_sub(start).filter(|len| *len > 0) else { continue };
            // SAFETY: whole pages within guest memory that was checked and stays mapped
            // as long as the chain. The guest can change them at any time, so that
            // nobody relies on what is in them.
            let outcome = unsafe {
                libc::madvise(run.iov_base.with_addr(start), len, libc::MADV_DONTNEED)
            };
            // Pages that cannot be had, because they are locked, stay.
            if outcome == 0 {
                self.metrics.reclaimed_bytes += len as u64;
            }
        }
    }
}

impl VirtioDevice for Balloon {
    fn id(&self) -> u32 {
        ID
    }

    fn features(&self) -> u64 {
        F_REPORTING
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &QUEUE_SIZES
    }

    fn config(&self) -> &[u8] {
        &CONFIG
    }

    fn kick(
        &mut self,
        index: usize,
        queues: &mut [VirtQueue],
        ram: &GuestRam,
    ) -> Result<Notify, Malformed> {
        self.metrics.kicks += 1;
        let Some(queue) = queues.get_mut(index) else { return Ok(Notify::No) };
        queue.serve(ram, |chain| {
            // What a guest inflates unasked stays where it is.
            if index == REPORTS {
                self.reclaim(chain);
            }
            Ok(0)
        })
    }
}
