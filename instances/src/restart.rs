//! When an instance whose workload has ended is started again.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// docker's restart policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// When it failed, at most so many times in a row.
    OnFailure(Option<u32>),
    /// However it ended, unless it was stopped.
    Always,
    /// The same; it differs once all instances are started that should run.
    UnlessStopped,
}

/// Text that is no restart policy.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a restart policy: no, on-failure[:N], always or unless-stopped")]
pub struct ParseRestartError(String);

impl RestartPolicy {
    /// Whether to start again after an end with `code`, when that was done `restarts`
    /// times already.
    #[must_use]
    pub fn wants(self, code: u8, restarts: u32) -> bool {
        match self {
            Self::No => false,
            Self::OnFailure(most) => code != 0 && most.is_none_or(|most| restarts < most),
            Self::Always | Self::UnlessStopped => true,
        }
    }
}

impl FromStr for RestartPolicy {
    type Err = ParseRestartError;

    fn from_str(text: &str) -> Result<Self, ParseRestartError> {
        Ok(match text.split_once(':') {
            None if text == "no" => Self::No,
            None if text == "on-failure" => Self::OnFailure(None),
            None if text == "always" => Self::Always,
            None if text == "unless-stopped" => Self::UnlessStopped,
            Some(("on-failure", most)) => {
                let most = most.parse().map_err(|_| ParseRestartError(text.to_owned()))?;
                // docker: 0 is no limit.
                Self::OnFailure((most > 0).then_some(most))
            }
            _ => return Err(ParseRestartError(text.to_owned())),
        })
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => f.write_str("no"),
            Self::OnFailure(None) => f.write_str("on-failure"),
            Self::OnFailure(Some(most)) => write!(f, "on-failure:{most}"),
            Self::Always => f.write_str("always"),
            Self::UnlessStopped => f.write_str("unless-stopped"),
        }
    }
}

impl TryFrom<String> for RestartPolicy {
    type Error = ParseRestartError;

    fn try_from(text: String) -> Result<Self, ParseRestartError> {
        text.parse()
    }
}

impl From<RestartPolicy> for String {
    fn from(policy: RestartPolicy) -> Self {
        policy.to_string()
    }
}

/// How long to wait before the next start: longer each time, until a workload has run for
/// a while.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    next: Duration,
}

impl Backoff {
    /// docker's first wait.
    const FIRST: Duration = Duration::from_millis(100);
    /// docker's longest.
    const LONGEST: Duration = Duration::from_secs(60);
    /// A workload that ran so long is taken to work.
    const WORKED: Duration = Duration::from_secs(10);

    /// The wait after a run that took `ran`.
    pub fn after(&mut self, ran: Duration) -> Duration {
        if ran >= Self::WORKED {
            self.next = Self::FIRST;
        }
        let wait = self.next;
        self.next = (wait * 2).min(Self::LONGEST);
        wait
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: Self::FIRST }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_dockers() {
        for text in ["no", "on-failure", "on-failure:3", "always", "unless-stopped"] {
            assert_eq!(text.parse::<RestartPolicy>().unwrap().to_string(), text);
        }
        for text in ["", "never", "always:3", "on-failure:", "on-failure:-1", "on-failure:x"] {
            assert!(text.parse::<RestartPolicy>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_failure_is_tried_again_as_often_as_asked() {
        let twice = RestartPolicy::OnFailure(Some(2));
        assert!(twice.wants(1, 0) && twice.wants(137, 1));
        assert!(!twice.wants(1, 2) && !twice.wants(0, 0));
        assert!(RestartPolicy::OnFailure(None).wants(1, 1000));
        assert!(RestartPolicy::Always.wants(0, 9) && RestartPolicy::UnlessStopped.wants(0, 9));
        assert!(!RestartPolicy::No.wants(1, 0));
    }

    #[test]
    fn waits_double_up_to_a_minute_and_begin_again_after_a_good_run() {
        let mut backoff = Backoff::default();
        let short = Duration::from_millis(5);
        let waits: Vec<u128> = (0..12).map(|_| backoff.after(short).as_millis()).collect();
        assert_eq!(waits[..4], [100, 200, 400, 800]);
        assert_eq!(waits[9..], [51_200, 60_000, 60_000]);
        assert_eq!(backoff.after(Duration::from_secs(10)).as_millis(), 100);
        assert_eq!(backoff.after(short).as_millis(), 200);
    }
}
