//! Where an instance is in its life.

use std::fmt;

use bulkhead_runtime::SandboxId;
use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::health::HealthStatus;

/// What a supervisor last noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Never started.
    #[default]
    Created,
    /// The sandbox is being made.
    Starting,
    /// The workload runs.
    Running,
    /// It is stopped where it is.
    Paused,
    /// The workload has ended and will be started again.
    Restarting,
    /// The workload has ended.
    Exited,
}

impl Phase {
    /// Whether somebody has to be there who takes care of it.
    #[must_use]
    pub fn needs_supervisor(self) -> bool {
        !matches!(self, Self::Created | Self::Exited)
    }
}

/// What an instance is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Never started.
    Created,
    /// The sandbox is being made.
    Starting,
    /// The workload runs.
    Running,
    /// The workload is held where it is.
    Paused,
    /// It will be started again.
    Restarting,
    /// The workload has ended.
    Exited,
    /// Its supervisor was killed, and the workload with it.
    Dead,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Created,
        Self::Starting,
        Self::Running,
        Self::Paused,
        Self::Restarting,
        Self::Exited,
        Self::Dead,
    ];

    /// As docker writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }

    /// Whether there is, or soon will be, a workload.
    #[must_use]
    pub fn is_up(self) -> bool {
        !matches!(self, Self::Created | Self::Exited | Self::Dead)
    }

    /// What a supervisor's last note means, now that it is `alive` or not.
    #[must_use]
    pub fn of(phase: Phase, alive: bool) -> Self {
        match phase {
            Phase::Created => Self::Created,
            Phase::Exited => Self::Exited,
            _ if !alive => Self::Dead,
            Phase::Starting => Self::Starting,
            Phase::Running => Self::Running,
            Phase::Paused => Self::Paused,
            Phase::Restarting => Self::Restarting,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The content of `state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// What was last noted.
    pub phase: Phase,
    /// Process id of the supervisor.
    pub supervisor: Option<i32>,
    /// Name of the sandbox under the runtime root.
    pub sandbox: Option<SandboxId>,
    /// The sandbox's first process on the host: the workload's, or a microVM's monitor.
    pub pid: Option<i32>,
    /// When the workload began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// Its exit code.
    pub exit_code: Option<u8>,
    /// It ran out of memory.
    pub oom_killed: bool,
    /// Why it could not be started, or what broke.
    pub error: Option<String>,
    /// How often it was started again by its restart policy.
    pub restarts: u32,
    /// It was stopped because somebody asked.
    pub stopped: bool,
    /// Whether it is well.
    pub health: Option<HealthStatus>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_going_on_without_a_supervisor_is_dead() {
        for phase in [Phase::Starting, Phase::Running, Phase::Paused, Phase::Restarting] {
            assert_eq!(Status::of(phase, false), Status::Dead);
            assert!(Status::of(phase, true).is_up());
        }
        assert_eq!(Status::of(Phase::Exited, false), Status::Exited);
        assert_eq!(Status::of(Phase::Created, false), Status::Created);
    }

    #[test]
    fn a_state_with_less_in_it_is_read() {
        let state: State = serde_json::from_str(r#"{"phase":"exited","exit_code":3}"#).unwrap();
        assert_eq!((state.phase, state.exit_code), (Phase::Exited, Some(3)));
    }
}
