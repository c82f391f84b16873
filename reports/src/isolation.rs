//! The attempts made from inside each wall: what they are in words, and how many
//! of them got through.

use crate::schema::{Attempt, AttemptOutcome};
use crate::view::{View, distinct, printable};

/// Attempts that a report explains; a results file may name others.
const MEANINGS: [(&str, &str); 18] = [
    ("host_processes", "see processes of the host"),
    ("host_files", "read a file of the host"),
    ("write_host_file", "change a file of the host"),
    ("mount", "mount a filesystem"),
    ("load_module", "load a kernel module"),
    ("ptrace_neighbour", "trace a process outside"),
    ("raw_socket", "open a raw socket"),
    ("set_clock", "set the clock"),
    ("write_proc_sys", "write to /proc/sys"),
    ("keyctl", "use the kernel's key rings"),
    ("bpf", "load a BPF program"),
    ("perf_event_open", "sample the processor's counters"),
    ("io_uring", "set up an io_uring"),
    ("nested_user_namespace", "make a user namespace"),
    ("fork_bomb", "fork without end"),
    ("memory_bomb", "allocate without end"),
    ("disk_bomb", "write without end"),
    ("fd_bomb", "open files without end"),
];

/// What the attempt called `name` is.
fn meaning(name: &str) -> Option<&'static str> {
    MEANINGS.iter().find(|(known, _)| *known == name).map(|(_, meaning)| *meaning)
}

/// The outcome in a word or two.
pub fn word(outcome: AttemptOutcome) -> &'static str {
    match outcome {
        AttemptOutcome::Reached => "reached",
        AttemptOutcome::Contained => "own only",
        AttemptOutcome::Refused => "refused",
        AttemptOutcome::Limited => "limited",
        AttemptOutcome::NotRun => "not run",
    }
}

/// Every attempt once, in the order of the results.
fn attempts<'a>(view: &View<'a>) -> Vec<&'a str> {
    distinct(view.results.attempts.iter().map(|attempt| attempt.attempt.as_str()))
}

/// One attempt behind one wall.
pub fn of<'a>(view: &View<'a>, attempt: &str, runtime: &str) -> Option<&'a Attempt> {
    view.results.attempts.iter().find(|a| a.attempt == attempt && a.runtime == runtime)
}

/// The outcome's looks in a style sheet.
fn class(outcome: AttemptOutcome) -> &'static str {
    match outcome {
        AttemptOutcome::Reached => "reached",
        AttemptOutcome::Contained => "contained",
        AttemptOutcome::Refused => "refused",
        AttemptOutcome::Limited => "limited",
        AttemptOutcome::NotRun => "not-run",
    }
}

/// Every attempt behind every wall.
#[derive(Debug, Clone, Default)]
pub struct Matrix {
    /// The walls behind which anything was attempted.
    pub walls: Vec<String>,
    /// The attempts.
    pub rows: Vec<MatrixRow>,
}

/// One attempt.
#[derive(Debug, Clone)]
pub struct MatrixRow {
    /// Its name in words.
    pub name: String,
    /// What it is, where that is known.
    pub meaning: &'static str,
    /// How it ended behind each wall.
    pub cells: Vec<Option<MatrixCell>>,
}

/// One attempt behind one wall.
#[derive(Debug, Clone)]
pub struct MatrixCell {
    /// Chooses its looks.
    pub class: &'static str,
    /// The outcome.
    pub word: &'static str,
    /// What the host saw.
    pub evidence: String,
}

/// The matrix, empty where nothing was attempted.
pub fn matrix(view: &View<'_>) -> Matrix {
    let attempted = |name: &str| view.results.attempts.iter().any(|a| a.runtime == name);
    let walls: Vec<_> = view.walls.iter().filter(|wall| attempted(wall.name)).collect();
    let cell = |attempt: &Attempt| MatrixCell {
        class: class(attempt.outcome),
        word: word(attempt.outcome),
        evidence: printable(&attempt.evidence),
    };
    let rows = attempts(view).into_iter().map(|attempt| MatrixRow {
        name: printable(attempt).replace('_', " "),
        meaning: meaning(attempt).unwrap_or_default(),
        cells: walls.iter().map(|wall| of(view, attempt, wall.name).map(cell)).collect(),
    });
    Matrix {
        rows: rows.collect(),
        walls: walls.into_iter().map(|wall| wall.label.clone()).collect(),
    }
}

/// How the attempts behind one wall ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Score<'a> {
    /// Those that were made.
    pub made: usize,
    /// Names of those that reached the host.
    pub reached: Vec<&'a str>,
    /// Names of those that succeeded against something of the sandbox's own.
    pub contained: Vec<&'a str>,
}

/// The score of one runtime, where any attempt was made behind it.
pub fn score<'a>(view: &View<'a>, runtime: &str) -> Option<Score<'a>> {
    let mut score = Score::default();
    for attempt in view.results.attempts.iter().filter(|a| a.runtime == runtime) {
        match attempt.outcome {
            AttemptOutcome::NotRun => continue,
            AttemptOutcome::Reached => score.reached.push(&attempt.attempt),
            AttemptOutcome::Contained => score.contained.push(&attempt.attempt),
            AttemptOutcome::Refused | AttemptOutcome::Limited => {}
        }
        score.made += 1;
    }
    (score.made > 0).then_some(score)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn only_what_was_attempted_is_scored() {
        let results = sample::rich();
        let view = View::new(&results);
        let native = score(&view, "native").unwrap();
        assert_eq!((native.made, native.reached.len()), (16, 13));
        let container = score(&view, "container").unwrap();
        assert_eq!((container.made, container.reached), (17, vec!["nested_user_namespace"]));
        let microvm = score(&view, "microvm").unwrap();
        assert!(microvm.reached.is_empty() && microvm.contained.contains(&"mount"));
        assert!(score(&view, "nobody").is_none());
    }
}
