//! The lines that the probe prints: the one place that knows them.
//!
//! Those of `probe ops`, `compute` and `files`:
//!
//! ```text
//! getppid 131072 9830400        131072 iterations took 9830400 ns
//! tcp_round_trip error 97       could not be done: errno 97
//! ```

use std::fmt;
use std::str::FromStr;

/// What `probe hello` writes.
pub const HELLO: &str = "hello\n";

/// What `probe idle` and `probe attempts` write when they wait.
pub const READY: &str = "ready\n";

/// One line of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Name of the operation.
    pub operation: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of one repetition of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done `iterations` times in `total_ns`, by the clock inside.
    Timed {
        /// How often; never zero.
        iterations: u64,
        /// All of them together, nanoseconds.
        total_ns: u64,
    },
    /// The kernel refused with this error number.
    Failed {
        /// `errno`; 0 where the failure had none.
        errno: i32,
    },
}

/// A line that is not one of the probe's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseLineError(String);

impl fmt::Display for ParseLineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a line of the probe", self.0.escape_debug())
    }
}

impl std::error::Error for ParseLineError {}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.outcome {
            Outcome::Timed { iterations, total_ns } => {
                write!(f, "{} {iterations} {total_ns}", self.operation)
            }
            Outcome::Failed { errno } => write!(f, "{} error {errno}", self.operation),
        }
    }
}

impl FromStr for Line {
    type Err = ParseLineError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| ParseLineError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Line> {
    let mut words = text.split(' ');
    let (operation, first, second) = (words.next()?, words.next()?, words.next()?);
    if operation.is_empty() || words.next().is_some() {
        return None;
    }
    let outcome = if first == "error" {
        Outcome::Failed { errno: second.parse().ok()? }
    } else {
        let iterations = first.parse().ok().filter(|&count| count > 0)?;
        Outcome::Timed { iterations, total_ns: second.parse().ok()? }
    };
    Some(Line { operation: operation.to_owned(), outcome })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_both_kinds_of_line() {
        let timed: Line = "getppid 10 2500".parse().unwrap();
        assert_eq!(timed.outcome, Outcome::Timed { iterations: 10, total_ns: 2500 });
        let failed: Line = "tcp_round_trip error 97".parse().unwrap();
        assert_eq!(failed.outcome, Outcome::Failed { errno: 97 });
    }

    #[test]
    fn refuses_what_it_never_prints() {
        for bad in ["", "getppid", "getppid 1", "getppid 0 5", "a 1 2 3", " 1 2", "a -1 2"] {
            assert!(bad.parse::<Line>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_line_survives_the_round_trip(
            operation in "[a-z_0-9]{1,20}",
            iterations in 1_u64..,
            total_ns: u64,
            errno: i32,
            failed: bool,
        ) {
            let outcome = if failed {
                Outcome::Failed { errno }
            } else {
                Outcome::Timed { iterations, total_ns }
            };
            let line = Line { operation, outcome };
            prop_assert_eq!(line.to_string().parse::<Line>(), Ok(line));
        }

        #[test]
        fn never_panics_on_any_text(text in ".*") {
            let _ = text.parse::<Line>();
        }
    }
}
