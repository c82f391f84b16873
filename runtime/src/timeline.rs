//! Named clocks: the instants every start is described by.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point on the host's `CLOCK_MONOTONIC`, comparable between processes.
///
/// `std::time::Instant` cannot be carried from one process to another; this can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Instant(u64);

impl Instant {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `now` is a valid timespec to write to. CLOCK_MONOTONIC exists on
        // every Linux, so the call cannot fail.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
        Self(seconds * 1_000_000_000 + nanoseconds)
    }

    /// From nanoseconds since the clock's start.
    #[must_use]
    pub fn from_nanos(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// Nanoseconds since the clock's start.
    #[must_use]
    pub fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The named instants of one sandbox's life, in the order they happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// The sandbox was asked for.
    Request,
    /// The root filesystem can be entered or attached.
    RootfsReady,
    /// The memory of a saved machine is mapped (restored microVM only).
    MemoryMapped,
    /// Its processor and devices are as they were saved (restored microVM only).
    StateRestored,
    /// Namespaces and cgroup are up, or VM, memory and devices are.
    SandboxCreated,
    /// The virtual CPU is about to execute its first instruction (microVM only).
    FirstGuestInstruction,
    /// The guest kernel has started PID 1 (microVM only).
    KernelDone,
    /// PID 1 has taken up what to run, on fresh randomness and the host's time
    /// (restored microVM only).
    AgentReady,
    /// The workload has been exec'ed.
    WorkloadExec,
    /// The workload's first byte of output arrived on the host.
    FirstOutput,
    /// The workload's exit was seen on the host.
    ExitObserved,
    /// Every resource of the sandbox is gone.
    Released,
}

impl Clock {
    /// All clocks in order.
    pub const ALL: [Self; 12] = [
        Self::Request,
        Self::RootfsReady,
        Self::MemoryMapped,
        Self::StateRestored,
        Self::SandboxCreated,
        Self::FirstGuestInstruction,
        Self::KernelDone,
        Self::AgentReady,
        Self::WorkloadExec,
        Self::FirstOutput,
        Self::ExitObserved,
        Self::Released,
    ];

    /// Name in results.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::RootfsReady => "rootfs_ready",
            Self::MemoryMapped => "memory_mapped",
            Self::StateRestored => "state_restored",
            Self::SandboxCreated => "sandbox_created",
            Self::FirstGuestInstruction => "first_guest_instruction",
            Self::KernelDone => "kernel_done",
            Self::AgentReady => "agent_ready",
            Self::WorkloadExec => "workload_exec",
            Self::FirstOutput => "first_output",
            Self::ExitObserved => "exit_observed",
            Self::Released => "released",
        }
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// When each [`Clock`] of one sandbox was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timeline {
    seen: [Option<Instant>; Clock::ALL.len()],
}

impl Timeline {
    /// A timeline that begins with `requested`.
    #[must_use]
    pub fn starting_at(requested: Instant) -> Self {
        let mut timeline = Self::default();
        timeline.mark_at(Clock::Request, requested);
        timeline
    }

    /// Records that `clock` is now, unless it was seen before.
    pub fn mark(&mut self, clock: Clock) {
        self.mark_at(clock, Instant::now());
    }

    /// Records that `clock` was at `instant`, unless it was seen before.
    pub fn mark_at(&mut self, clock: Clock, instant: Instant) {
        self.seen[clock as usize].get_or_insert(instant);
    }

    /// When `clock` was seen.
    #[must_use]
    pub fn get(&self, clock: Clock) -> Option<Instant> {
        self.seen[clock as usize]
    }

    /// Time from `from` to `to`, when both were seen.
    #[must_use]
    pub fn between(&self, from: Clock, to: Clock) -> Option<Duration> {
        Some(self.get(to)?.since(self.get(from)?))
    }

    /// The clocks that were seen, in the order of [`Clock::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Clock, Instant)> + '_ {
        Clock::ALL.into_iter().filter_map(|clock| Some((clock, self.get(clock)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_mark_stays() {
        let mut timeline = Timeline::starting_at(Instant::from_nanos(10));
        timeline.mark_at(Clock::FirstOutput, Instant::from_nanos(40));
        timeline.mark_at(Clock::FirstOutput, Instant::from_nanos(90));
        let boot = timeline.between(Clock::Request, Clock::FirstOutput);
        assert_eq!(boot, Some(Duration::from_nanos(30)));
        assert_eq!(timeline.between(Clock::Request, Clock::Released), None);
    }

    #[test]
    fn clocks_are_in_order_and_named_as_serialised() {
        for (index, clock) in Clock::ALL.into_iter().enumerate() {
            assert_eq!(clock as usize, index);
            assert_eq!(serde_json::to_value(clock).unwrap(), clock.as_str());
        }
    }

    #[test]
    fn the_clock_does_not_go_back() {
        let first = Instant::now();
        assert!(Instant::now() >= first);
    }
}
