//! A limit below one processor, kept by the processor's own thread.
//!
//! The kernel's timer on the thread's CPU time interrupts the guest when a
//! period's share is used up; the thread then sleeps for the rest of the
//! period. That is what a cgroup's CPU quota does, without a cgroup, which an
//! unprivileged user may not have.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Shortest share and period that make sense: below, the guest would hardly
/// get between two interruptions (the kernel's own least is 1 ms as well,
/// `min_cfs_quota_period`, kernel/sched/core.c).
const LEAST: Duration = Duration::from_millis(1);

/// So much processor time in each period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuLimit {
    quota: Duration,
    period: Duration,
}

impl CpuLimit {
    /// A limit of `quota_us` in each `period_us` (runtime-spec, "CPU"), when that
    /// is less than the one processor a microVM has.
    #[must_use]
    pub fn below_one(quota_us: i64, period_us: u64) -> Option<Self> {
        let quota = Duration::from_micros(u64::try_from(quota_us).ok()?).max(LEAST);
        let period = Duration::from_micros(period_us).max(LEAST);
        (quota < period).then_some(Self { quota, period })
    }
}

/// The limit in force for the calling thread.
#[derive(Debug)]
pub struct Throttle {
    limit: CpuLimit,
    /// When the present period began, on the monotonic clock, and how much
    /// processor time the thread had used by then.
    began: Duration,
    used_before: Duration,
}

impl Throttle {
    /// Makes the kernel send `signal` to this thread each time it has used up a
    /// share.
    ///
    /// # Errors
    ///
    /// When the kernel has no timer left.
    pub fn start(limit: CpuLimit, signal: libc::c_int) -> io::Result<Self> {
        // SAFETY: all zeroes is a valid sigevent, completed below.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal;
        // SAFETY: gettid always succeeds.
        event.sigev_notify_thread_id = unsafe { libc::gettid() };
        let mut timer: libc::timer_t = std::ptr::null_mut();
        let share = timespec(limit.quota);
        let setting = libc::itimerspec { it_interval: share, it_value: share };
        let clock = libc::CLOCK_THREAD_CPUTIME_ID;
        // SAFETY: the pointers are to live values of the right types. The timer is
        // never deleted: it ends with the process, as the thread does.
        let made = unsafe {
            libc::timer_create(clock, &raw mut event, &raw mut timer) == 0
                && libc::timer_settime(timer, 0, &raw const setting, std::ptr::null_mut()) == 0
        };
        if !made {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { limit, began: now(libc::CLOCK_MONOTONIC), used_before: now(clock) })
    }

    /// To be called when the guest was interrupted: sleeps for the rest of the
    /// period if its share is used up. A signal ends the sleep.
    pub fn pause(&mut self) {
        let used = now(libc::CLOCK_THREAD_CPUTIME_ID);
        let at = now(libc::CLOCK_MONOTONIC);
        let elapsed = at.saturating_sub(self.began);
        if elapsed < self.limit.period {
            // The timer runs at the scheduler's tick; a share may be a little overdrawn.
            if used.saturating_sub(self.used_before) < self.limit.quota {
                return;
            }
            let rest = timespec(self.limit.period - elapsed);
            // SAFETY: the pointer is to a live timespec; no remainder is asked for.
            unsafe {
                libc::clock_nanosleep(
                    libc::CLOCK_MONOTONIC,
                    0,
                    &raw const rest,
                    std::ptr::null_mut(),
                )
            };
        }
        self.began = now(libc::CLOCK_MONOTONIC);
        self.used_before = used;
    }
}

fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

fn now(clock: libc::clockid_t) -> Duration {
    let mut time = timespec(Duration::ZERO);
    // SAFETY: `time` is a valid timespec to write to; both clocks always exist.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below_one_processor_limits() {
        assert_eq!(CpuLimit::below_one(200_000, 100_000), None);
        assert_eq!(CpuLimit::below_one(100_000, 100_000), None);
        assert_eq!(CpuLimit::below_one(-1, 100_000), None);
        let half = CpuLimit::below_one(50_000, 100_000).unwrap();
        assert_eq!(
            (half.quota, half.period),
            (Duration::from_millis(50), Duration::from_millis(100))
        );
        assert_eq!(CpuLimit::below_one(0, 100_000).unwrap().quota, LEAST);
    }

    #[test]
    fn a_thread_that_spins_gets_its_share() {
        extern "C" fn wake(_: libc::c_int) {}
        // SAFETY: the handler does nothing.
        unsafe { libc::signal(libc::SIGUSR2, wake as *const () as libc::sighandler_t) };
        let limit = CpuLimit::below_one(10_000, 50_000).unwrap();
        let mut throttle = Throttle::start(limit, libc::SIGUSR2).unwrap();
        let (begun, before) = (now(libc::CLOCK_MONOTONIC), now(libc::CLOCK_THREAD_CPUTIME_ID));
        let window = Duration::from_millis(1000);
        while now(libc::CLOCK_MONOTONIC) - begun < window {
            throttle.pause();
        }
        let used = now(libc::CLOCK_THREAD_CPUTIME_ID) - before;
        // A fifth, and what the last period may overdraw.
        assert!(used < window * 2 / 5, "{used:?}");
    }
}
