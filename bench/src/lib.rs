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

mod budget;
pub mod compare;
mod draft;
pub mod host;
mod isolation;
mod native;
pub mod observe;
mod overhead;
pub mod peers;
mod poll;
mod profile;
mod progress;
mod resume;
mod run;
mod sampling;
mod sandbox;
mod spawn;
pub mod statistics;
mod stop;
mod stream;
mod summary;
mod time;
pub mod virtualisation;
mod waiting;
mod workloads;

pub use draft::{Checkpoint, NoCheckpoint};
pub use native::NativeRuntime;
pub use profile::{Blocks, Extent, Ladder, Profile, Storms};
pub use progress::{Progress, Silent};
pub use resume::ResumeError;
pub use run::{BenchConfig, BenchError, Candidate, run};
pub use sandbox::WOKEN;
pub use stop::Stop;
pub use workloads::{Custom, WORKLOADS, Workload};

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    one_line(&text)
}

/// The first and the last line of a text. Some errors carry the last messages of
/// a guest kernel, of which the very last one matters most.
fn one_line(text: &str) -> String {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    match (lines.next(), lines.next_back()) {
        (Some(first), Some(last)) => format!("{first} … {last}"),
        (first, _) => first.unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_error_becomes_its_first_and_last_line() {
        assert_eq!(one_line("one"), "one");
        assert_eq!(one_line("boot: log:\n  early\n  panic\n\n"), "boot: log: … panic");
        assert_eq!(one_line(""), "");
    }

    #[test]
    fn causes_follow_their_error() {
        let source = std::io::Error::from_raw_os_error(libc::ENOENT);
        let error = sandbox::SampleError::Pipe(source);
        let text = chain(&error);
        assert!(text.starts_with("the pipe for the workload's output: No such file"), "{text}");
    }
}
