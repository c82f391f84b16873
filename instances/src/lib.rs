//! Instances: what a user starts, names, watches and stops.
//!
//! A sandbox lives as long as its workload. An instance is there before and after: it has
//! an id and a name, knows what it was asked for and how it ended, and can be started
//! again. No daemon keeps it. It is a directory below the store:
//!
//! ```text
//! instances/<id>/config.json   what it was asked for; replaced when it is renamed
//! instances/<id>/state.json    where it is in its life; its supervisor's to write
//! instances/<id>/lock          held by its supervisor; the kernel drops it with its holder
//! instances/<id>/control       its supervisor's socket
//! instances/<id>/log/          what the workload wrote, bounded
//! instances/.lock              held while a name is given or an instance removed
//! ```
//!
//! A supervisor is one process for each instance that runs ([`supervisor`]). It owns the
//! sandbox, which dies with it, writes its output down, and applies the restart policy.
//! The sandbox of a run in the foreground has no supervisor; a single file beside its
//! state tells about it.
//!
//! This crate knows neither images nor how a sandbox is made: that is its caller's
//! [`supervisor::Launcher`].

#![deny(missing_docs)]

mod config;
pub mod control;
pub mod describe;
pub mod events;
pub mod filter;
pub mod health;
mod id;
pub mod journal;
pub mod log;
mod names;
mod resolve;
mod restart;
mod state;
mod store;
pub mod supervisor;
mod time;
pub mod top;

pub use config::{Config, LogLimits};
pub use id::InstanceId;
pub use names::generated;
pub use resolve::{ResolveError, resolve};
pub use restart::{Backoff, ParseRestartError, RestartPolicy};
pub use state::{Phase, State, Status};
pub use store::{Held, Instance, Instances, Keeper, StoreError};
pub use time::{ParseTimeError, Timestamp};
