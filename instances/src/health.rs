//! Whether an instance is well: docker's HEALTHCHECK.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// How to find out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// The command, arguments included.
    pub command: Vec<String>,
    /// From the end of one check to the next.
    pub interval: Duration,
    /// How long a check may take.
    pub timeout: Duration,
    /// How long after the start failures do not count.
    pub start_period: Duration,
    /// From one check to the next during that time.
    pub start_interval: Duration,
    /// So many failures in a row are one too many.
    pub retries: u32,
}

impl HealthCheck {
    /// docker's interval and timeout.
    pub const USUAL: Duration = Duration::from_secs(30);
    /// docker's interval while an instance starts.
    pub const STARTING: Duration = Duration::from_secs(5);
    /// docker's number of failures.
    pub const RETRIES: u32 = 3;

    /// This command, checked as docker does where nothing else is said.
    #[must_use]
    pub fn of(command: Vec<String>) -> Self {
        Self {
            command,
            interval: Self::USUAL,
            timeout: Self::USUAL,
            start_period: Duration::ZERO,
            start_interval: Self::STARTING,
            retries: Self::RETRIES,
        }
    }
}

/// How an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Nobody asked.
    #[default]
    None,
    /// Not known yet.
    Starting,
    /// Well.
    Healthy,
    /// Too many checks in a row failed.
    Unhealthy,
}

impl HealthStatus {
    /// As docker writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }

    /// The one that is called so.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::None, Self::Starting, Self::Healthy, Self::Unhealthy];
        all.into_iter().find(|status| status.as_str() == name)
    }
}

/// One check.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Probe {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// Its exit code; `None` when it could not be run or took too long.
    pub exit_code: Option<u8>,
    /// What it wrote, the first of it.
    pub output: String,
}

/// What the checks said.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Health {
    /// What follows from them.
    pub status: HealthStatus,
    /// How many failed in a row.
    pub failing_streak: u32,
    /// The last of them.
    pub log: Vec<Probe>,
}

impl Health {
    /// Checks that are kept.
    const KEPT: usize = 5;

    /// Of an instance that was started just now.
    #[must_use]
    pub fn starting() -> Self {
        Self { status: HealthStatus::Starting, ..Self::default() }
    }

    /// Takes in a check that began `age` after the start. True when the status is another
    /// one now.
    pub fn take(&mut self, check: &HealthCheck, age: Duration, probe: Probe) -> bool {
        let before = self.status;
        if probe.exit_code == Some(0) {
            self.failing_streak = 0;
            self.status = HealthStatus::Healthy;
        } else if self.status != HealthStatus::Starting || age >= check.start_period {
            self.failing_streak = self.failing_streak.saturating_add(1);
            if self.failing_streak >= check.retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        self.log.push(probe);
        let gone = self.log.len().saturating_sub(Self::KEPT);
        self.log.drain(..gone);
        before != self.status
    }

    /// How long to wait for the next check, `age` after the start.
    #[must_use]
    pub fn pause(&self, check: &HealthCheck, age: Duration) -> Duration {
        if self.status == HealthStatus::Starting && age < check.start_period {
            check.start_interval.min(check.interval)
        } else {
            check.interval
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(code: u8) -> Probe {
        let now = Timestamp::now();
        Probe { start: now, end: now, exit_code: Some(code), output: String::new() }
    }

    #[test]
    fn so_many_failures_in_a_row_make_it_unhealthy_and_one_success_well() {
        let check = HealthCheck::of(vec!["true".into()]);
        let mut health = Health::starting();
        let late = Duration::from_secs(60);
        assert!(!health.take(&check, late, probe(1)) && !health.take(&check, late, probe(1)));
        assert!(health.take(&check, late, probe(1)));
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Unhealthy, 3));
        assert!(health.take(&check, late, probe(0)));
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Healthy, 0));
        assert!(!health.take(&check, late, probe(0)));
        for _ in 0..9 {
            health.take(&check, late, probe(0));
        }
        assert_eq!(health.log.len(), 5);
    }

    #[test]
    fn failures_while_it_starts_do_not_count() {
        let mut check = HealthCheck::of(vec!["true".into()]);
        check.start_period = Duration::from_secs(20);
        let mut health = Health::starting();
        let early = Duration::from_secs(5);
        for _ in 0..10 {
            assert!(!health.take(&check, early, probe(1)));
        }
        assert_eq!(health.status, HealthStatus::Starting);
        assert_eq!(health.pause(&check, early), HealthCheck::STARTING);
        // Once it was well, they do.
        health.take(&check, early, probe(0));
        for _ in 0..3 {
            health.take(&check, early, probe(1));
        }
        assert_eq!(health.status, HealthStatus::Unhealthy);
        assert_eq!(health.pause(&check, early), HealthCheck::USUAL);
    }
}
