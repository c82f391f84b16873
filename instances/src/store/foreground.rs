//! Instances that a command in the foreground runs.
//!
//! They are gone when their command ends, so nothing is kept of them but one file in the
//! directory of their sandbox, which goes with it. It is on the way of each start: it is
//! written once and not synced.

use std::fs;
use std::path::Path;

use bulkhead_runtime::{SandboxId, StateDir, Status as Life, state};
use serde::{Deserialize, Serialize};

use super::{Instance, Keeper, StoreError, io_error, json, read, write};
use crate::{Config, Phase, State, Timestamp};

const FILE: &str = "instance.json";

#[derive(Debug, Serialize, Deserialize)]
struct Note<C> {
    owner: i32,
    config: C,
}

/// Writes the file.
pub(super) fn note(
    root: &Path,
    sandbox: &SandboxId,
    config: &Config,
) -> Result<(), StoreError> {
    let path = root.join(sandbox).join(FILE);
    let owner = nix::unistd::getpid().as_raw();
    let text = json(&path, &Note { owner, config })?;
    fs::write(&path, text).map_err(io_error("write", &path))
}

/// Replaces the configuration in the file.
pub(super) fn rename(
    root: &Path,
    sandbox: &SandboxId,
    config: &Config,
) -> Result<(), StoreError> {
    let path = root.join(sandbox).join(FILE);
    let Note { owner, .. } = read::<Note<Config>>(&path)?;
    write(&path, &Note { owner, config })
}

/// Those whose command is alive.
pub(super) fn list(root: &Path) -> Result<Vec<Instance>, StoreError> {
    let ids = state::list(root)?;
    Ok(ids.into_iter().filter_map(|id| load(root, id)).collect())
}

fn load(root: &Path, id: SandboxId) -> Option<Instance> {
    let path = root.join(&id).join(FILE);
    let Note { owner, config } = read::<Note<Config>>(&path).ok()?;
    let dir = StateDir::open(root, &id).ok()?;
    let record = dir.read().ok()?;
    if !dir.is_owned() {
        return None;
    }
    let phase = match record.status {
        Life::Creating | Life::Created => Phase::Starting,
        Life::Running => Phase::Running,
        Life::Paused => Phase::Paused,
        Life::Stopped => Phase::Exited,
    };
    // The record is replaced when the workload runs.
    let changed = fs::metadata(dir.path().join("state.json")).and_then(|file| file.modified());
    let started = changed
        .ok()
        .filter(|_| matches!(phase, Phase::Running | Phase::Paused))
        .map(Timestamp::of);
    let state =
        State { phase, started, sandbox: Some(id), pid: record.pid, ..State::default() };
    let keeper = Keeper::Foreground { owner };
    Some(Instance { config, state, keeper, dir: dir.path().to_owned() })
}
