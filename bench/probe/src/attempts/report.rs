//! The lines that attempts print: the one place that knows their format.
//!
//! ```text
//! mount ok on /tmp/x             it succeeded, as far as the program can tell
//! bpf error 1 no more is known   the kernel refused with this error number
//! memory_bomb signal 9           this signal ended it
//! ```

use std::fmt;
use std::str::FromStr;

/// How an attempt went, seen from inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Name of the attempt.
    pub attempt: String,
    /// What came of it.
    pub ending: Ending,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It succeeded.
    Succeeded {
        /// What it got hold of.
        says: String,
    },
    /// It was refused.
    Failed {
        /// `errno`; 0 where the failure had none.
        errno: i32,
    },
    /// A signal ended it.
    Killed {
        /// The signal.
        signal: i32,
    },
}

/// A line that is not one of the probe's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseReportError(String);

impl fmt::Display for ParseReportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not the report of an attempt", self.0.escape_debug())
    }
}

impl std::error::Error for ParseReportError {}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.attempt;
        match &self.ending {
            Ending::Succeeded { says } => {
                // One line, whatever was found.
                write!(f, "{name} ok {}", says.replace(['\n', '\r'], " "))
            }
            Ending::Failed { errno } => write!(f, "{name} error {errno}"),
            Ending::Killed { signal } => write!(f, "{name} signal {signal}"),
        }
    }
}

impl FromStr for Report {
    type Err = ParseReportError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| ParseReportError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Report> {
    let mut words = text.splitn(3, ' ');
    let (attempt, kind, rest) = (words.next()?, words.next()?, words.next()?);
    let ending = match kind {
        "ok" => Ending::Succeeded { says: rest.to_owned() },
        "error" => Ending::Failed { errno: rest.parse().ok()? },
        "signal" => Ending::Killed { signal: rest.parse().ok()? },
        _ => return None,
    };
    (!attempt.is_empty()).then(|| Report { attempt: attempt.to_owned(), ending })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_it_never_prints() {
        for bad in ["", "mount", "mount ok", "mount error x", " ok x", "mount nearly 1"] {
            assert!(bad.parse::<Report>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_report_survives_the_round_trip(
            attempt in "[a-z_]{1,20}",
            says in "[^\r\n]{0,40}",
            value: i32,
            kind in 0..3,
        ) {
            let ending = match kind {
                0 => Ending::Succeeded { says },
                1 => Ending::Failed { errno: value },
                _ => Ending::Killed { signal: value },
            };
            let report = Report { attempt, ending };
            prop_assert_eq!(report.to_string().parse::<Report>(), Ok(report));
        }

        #[test]
        fn never_panics_on_any_text(text in ".*") {
            let _ = text.parse::<Report>();
        }
    }
}
