//! How a run is asked to stop early.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::poll::wait_readable;

/// A request to stop that may come at any time, typically from Ctrl-C.
///
/// The flag is looked at between samples and whenever a signal interrupts a
/// wait. The descriptor, where there is one, also cuts a start short that takes
/// seconds: it is handed to [`bulkhead_runtime::Sandbox::start`].
#[derive(Debug, Clone, Copy)]
pub struct Stop<'a> {
    flag: &'a AtomicBool,
    interrupt: Option<BorrowedFd<'a>>,
}

impl<'a> Stop<'a> {
    /// Stops once `flag` is set.
    #[must_use]
    pub fn on_flag(flag: &'a AtomicBool) -> Self {
        Self { flag, interrupt: None }
    }

    /// Stops once `flag` is set or `interrupt` is readable (a `signalfd` or an
    /// `eventfd`, which is not read from).
    #[must_use]
    pub fn on_flag_or_descriptor(flag: &'a AtomicBool, interrupt: BorrowedFd<'a>) -> Self {
        Self { flag, interrupt: Some(interrupt) }
    }

    /// Whether the run should stop.
    #[must_use]
    pub fn requested(&self) -> bool {
        if self.flag.load(Ordering::Relaxed) {
            return true;
        }
        self.interrupt.is_some_and(|fd| {
            wait_readable([Some(fd)], Some(Duration::ZERO)).is_ok_and(|[ready]| ready)
        })
    }

    /// The descriptor to wait on beside others.
    #[must_use]
    pub fn descriptor(&self) -> Option<BorrowedFd<'a>> {
        self.interrupt
    }

    /// Sleeps for `time`, or less when asked to stop.
    pub(crate) fn sleep(&self, time: Duration) {
        let end = std::time::Instant::now() + time;
        while !self.requested() {
            let left = end.saturating_duration_since(std::time::Instant::now());
            // An error here can only shorten the pause.
            if left.is_zero() || wait_readable([self.interrupt], Some(left)).is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;

    #[test]
    fn either_the_flag_or_the_descriptor_stops() {
        let flag = AtomicBool::new(false);
        let (reader, mut writer) = std::io::pipe().unwrap();
        let stop = Stop::on_flag_or_descriptor(&flag, reader.as_fd());
        assert!(!stop.requested());
        flag.store(true, Ordering::Relaxed);
        assert!(stop.requested());
        flag.store(false, Ordering::Relaxed);
        writer.write_all(b"x").unwrap();
        assert!(stop.requested());
        // Returns at once; a test that hangs for a day has failed.
        stop.sleep(Duration::from_secs(86_400));
    }
}
