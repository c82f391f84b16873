//! What can go wrong with somebody else's program.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// A peer that did not do what was asked of it.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// There is no such program.
    #[error("no program `{0}` on PATH")]
    NotFound(String),
    /// It cannot be started.
    #[error("cannot run {}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It said that it failed, or crashed.
    #[error("`{command}` failed ({status}){}", said(.message))]
    Failed {
        /// The program and its verb.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to its log or to standard error; may be empty.
        message: String,
    },
    /// It hung and was killed with everything it had started.
    #[error("`{command}` did not finish within {after:?} and was killed{}", said(.message))]
    Hung {
        /// The program and its verb.
        command: String,
        /// How long it was given.
        after: Duration,
        /// What it wrote to its log until then; may be empty.
        message: String,
    },
    /// It said that it succeeded but did not say which process it had made.
    #[error("`{command}` succeeded but wrote {found:?} where a process id belongs")]
    NoProcess {
        /// The program and its verb.
        command: String,
        /// What is in the file; empty when there is none.
        found: String,
    },
    /// The process it made is not a child of the harness, which therefore cannot
    /// learn how it ends.
    #[error("the container's process {0} is not below the harness")]
    NotOurs(i32),
    /// It was told to remove the container, and something of it is still there.
    #[error("{} is still there after `{command}`", path.display())]
    Left {
        /// The program and its verb.
        command: String,
        /// What it left.
        path: PathBuf,
    },
    /// The layers cannot be put into one mount option.
    #[error("the layers' paths do not fit into the options of an overlay mount")]
    Layers,
    /// The configuration cannot be written as JSON.
    #[error("config.json cannot be written")]
    Config(#[source] io::Error),
    /// A file operation of the harness failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl PeerError {
    /// For `map_err` on an operation of ours on `path`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}
