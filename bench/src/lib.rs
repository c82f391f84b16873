//! The harness: measures what each wall costs.
//!
//! [`run()`] takes runtimes through the seam only (the traits of
//! `bulkhead-runtime`), starts the probe behind each in interleaved, randomised
//! blocks, and returns results with every raw sample and the figures computed
//! from them. It knows nothing about namespaces or KVM, and nothing about
//! terminals or reports.
//!
//! The harness measures on one thread and leaves none running: runtimes fork,
//! and a timer tick would be measured.

#![deny(missing_docs)]

pub mod host;
mod memory;
mod native;
mod poll;
mod profile;
mod progress;
mod run;
mod sampling;
mod sandbox;
pub mod statistics;
mod stop;
mod summary;
mod time;
mod workloads;

pub use native::NativeRuntime;
pub use profile::{Blocks, Ladder, Profile};
pub use progress::{Progress, Silent};
pub use run::{BenchConfig, BenchError, Candidate, run};
pub use stop::Stop;

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
