//! Attempts to get out of a sandbox, or to harm others from within.
//!
//! Each really does what it is named after, keeps what it got hold of until it
//! is told to let go, and says in a line how it went. The line is for the
//! curious: whether an attempt reached the host is decided by the host, which
//! looks at its own processes, files, mounts, keys and clocks meanwhile.
//!
//! What an attempt changes it changes back when it lets go, and what it uses up
//! is bounded by its arguments: it must do no harm where no wall stops it.

mod bombs;
mod kernel;
mod processes;
pub mod report;
mod session;
mod system;

use std::any::Any;
use std::io;

pub(crate) use session::{once, session};

/// The arguments of an attempt.
type Words<'a> = [&'a str];

/// An attempt that succeeded.
struct Done {
    /// What it got hold of, for the one line.
    says: String,
    /// Gives back what was taken, when dropped.
    _held: Box<dyn Any>,
}

impl Done {
    /// Succeeded, with nothing to give back.
    fn saying(says: impl Into<String>) -> Self {
        Self::holding((), says)
    }

    /// Succeeded; `held` is dropped when it is time to let go.
    fn holding(held: impl Any, says: impl Into<String>) -> Self {
        Self { says: says.into(), _held: Box::new(held) }
    }
}

/// An attempt and how it is made.
struct Attempt {
    name: &'static str,
    make: fn(&Words<'_>) -> io::Result<Done>,
}

const fn attempt(name: &'static str, make: fn(&Words<'_>) -> io::Result<Done>) -> Attempt {
    Attempt { name, make }
}

/// All attempts. Arguments are named in the functions' own descriptions.
const ATTEMPTS: &[Attempt] = &[
    attempt("host_processes", processes::see),
    attempt("ptrace_neighbour", processes::trace),
    attempt("host_files", system::read_file),
    attempt("write_host_file", system::write_file),
    attempt("mount", system::mount),
    attempt("write_proc_sys", system::write_sysctl),
    attempt("set_clock", system::set_clock),
    attempt("load_module", system::load_module),
    attempt("raw_socket", system::raw_socket),
    attempt("keyctl", kernel::add_key),
    attempt("bpf", kernel::load_program),
    attempt("perf_event_open", kernel::count_events),
    attempt("io_uring", kernel::make_ring),
    attempt("nested_user_namespace", kernel::enter_user_namespace),
    attempt("fd_bomb", bombs::descriptors),
    attempt("fork_bomb", bombs::processes),
    attempt("disk_bomb", bombs::disk),
    attempt("memory_bomb", bombs::memory),
];

fn find(name: &str) -> Option<&'static Attempt> {
    ATTEMPTS.iter().find(|attempt| attempt.name == name)
}

/// The argument at `index`.
fn word<'a>(words: &Words<'a>, index: usize) -> io::Result<&'a str> {
    words.get(index).copied().ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// The argument at `index`, a number.
fn number<T: std::str::FromStr>(words: &Words<'_>, index: usize) -> io::Result<T> {
    word(words, index)?.parse().map_err(|_| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_words() {
        let names: BTreeSet<_> = ATTEMPTS.iter().map(|attempt| attempt.name).collect();
        assert_eq!(names.len(), ATTEMPTS.len());
        assert!(names.iter().all(|name| !name.contains([' ', '\t'])));
        assert!(find("mount").is_some() && find("nonsense").is_none());
    }

    #[test]
    fn arguments_that_are_missing_or_no_numbers_are_refused() {
        assert!(number::<u64>(&["12"], 0).is_ok_and(|value| value == 12));
        for words in [&[][..], &["x"][..]] {
            let error = number::<u64>(words, 0).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
