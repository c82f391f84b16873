//! What an instance was asked for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bulkhead_runtime::{Isolation, Signal};
use serde::{Deserialize, Serialize};

use crate::health::HealthCheck;
use crate::{InstanceId, RestartPolicy, Timestamp};

/// The content of `config.json`: all that is needed to start an instance, and start it
/// again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    /// Version of this format.
    pub version: u32,
    /// Its id.
    pub id: InstanceId,
    /// Its name; the only part that can change.
    pub name: String,
    /// The image, as it was called.
    pub image: String,
    /// Digest of the image's manifest.
    pub image_digest: String,
    /// The command, entrypoint included.
    pub command: Vec<String>,
    /// Which wall.
    pub isolation: Isolation,
    /// When it was made.
    pub created: Timestamp,
    /// Labels, the image's included.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Whether it is started again when its workload has ended.
    #[serde(default)]
    pub restart: RestartPolicy,
    /// The signal that asks its workload to stop.
    #[serde(default = "terminate")]
    pub stop_signal: Signal,
    /// How long the workload may take to stop; `None`: as long as it likes.
    #[serde(default)]
    pub stop_timeout: Option<Duration>,
    /// How long the workload may run.
    #[serde(default)]
    pub timeout: Option<Duration>,
    /// It is removed once its workload has ended.
    #[serde(default)]
    pub auto_remove: bool,
    /// Its standard input stays open for those who attach.
    #[serde(default)]
    pub interactive: bool,
    /// Its standard input ends with the first who attached.
    #[serde(default)]
    pub stdin_once: bool,
    /// It has a terminal.
    #[serde(default)]
    pub terminal: bool,
    /// How to tell whether it is well.
    #[serde(default)]
    pub health: Option<HealthCheck>,
    /// How much of its output is kept.
    #[serde(default)]
    pub log: LogLimits,
    /// Where relative paths of the request begin.
    pub directory: PathBuf,
    /// The request itself, as its launcher understands it.
    #[serde(default)]
    pub run: serde_json::Value,
}

impl Config {
    /// Version of the format this code writes.
    pub const VERSION: u32 = 1;

    /// docker's time for a workload to stop.
    pub const STOP_TIMEOUT: Duration = Duration::from_secs(10);
}

fn terminate() -> Signal {
    Signal::TERM
}

/// How much of the output of an instance is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLimits {
    /// Bytes of one file.
    pub file_bytes: u64,
    /// How many files.
    pub files: u32,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { file_bytes: 10 << 20, files: 3 }
    }
}
