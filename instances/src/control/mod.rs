//! What is said to a supervisor, and what it answers.
//!
//! A connection carries frames: a byte that says what it is, four with its length, and
//! that. The caller asks one thing; whoever attaches then sends input and gets output.

mod client;
mod detach;
mod frame;
mod server;

use std::io;
use std::path::PathBuf;

use bulkhead_runtime::{Signal, TerminalSize};
use serde::{Deserialize, Serialize};

pub use client::Client;
pub use detach::DetachKeys;
pub use frame::{Decoder, Frame, MAX_FRAME};
pub(crate) use server::{Connection, listen};

/// The socket of a supervisor, in the directory of its instance.
const SOCKET: &str = "control";

/// What can be asked of a supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Tell when the workload has begun, or could not; with [`Attach`], be attached
    /// before it does.
    AwaitStart(Option<Attach>),
    /// Carry the workload's streams.
    Attach(Attach),
    /// Stop the workload, and have it stay so.
    Stop {
        /// The signal that asks it to; the instance's own otherwise.
        signal: Option<Signal>,
        /// Seconds until it is killed; the instance's own otherwise, and never if negative.
        seconds: Option<i64>,
    },
    /// Send the workload a signal.
    Signal(Signal),
    /// Tell when the workload has ended for good.
    Wait,
    /// Hold the workload where it is.
    Pause,
    /// Let it go on.
    Unpause,
    /// Its terminal has this size now.
    Resize(TerminalSize),
}

/// Which streams are to be carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// What is sent becomes its input.
    pub stdin: bool,
    /// What it writes is sent.
    pub output: bool,
    /// The size of the terminal at this end.
    pub size: Option<TerminalSize>,
}

/// What a supervisor answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It is done, or has begun.
    Done,
    /// The workload has begun.
    Started,
    /// It could not be done.
    Failed(Refusal),
    /// The workload has ended so.
    Exited {
        /// Its exit code.
        code: u8,
        /// It ran out of memory.
        oom_killed: bool,
    },
}

/// Why something could not be done, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The error and its causes.
    pub causes: Vec<String>,
    /// What can be done about it.
    pub hint: Option<String>,
    /// Exit code of the command that is refused.
    pub code: u8,
}

impl Refusal {
    /// Of an error and its causes, with exit code 1.
    #[must_use]
    pub fn of(error: &dyn std::error::Error) -> Self {
        let causes = std::iter::successors(Some(error), |error| error.source());
        let causes = causes.map(ToString::to_string).collect();
        Self { causes, hint: None, code: 1 }
    }
}

/// All of it on one line.
impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.causes.join(": "))
    }
}

/// Failure to talk to a supervisor.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens.
    #[error("nobody answers at {}", path.display())]
    NoAnswer {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection to the sandbox's supervisor broke")]
    Broken(#[source] io::Error),
    /// It ended before an answer came.
    #[error("the sandbox's supervisor ended without an answer")]
    Ended,
    /// What came is no frame.
    #[error("the sandbox's supervisor sent something that cannot be understood")]
    Malformed,
    /// It was refused.
    #[error("{0}")]
    Refused(Refusal),
}
