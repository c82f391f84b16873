//! Whether a user's command did the same with every runtime.

use std::fmt;

use crate::schema::{CommandOutcome, Results};

/// Hexadecimal digits of a digest that are shown.
const SHOWN: usize = 12;

/// What the outcomes of all runs of a command have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agreement<'a> {
    /// Nothing came to its end.
    Nothing,
    /// Every run with every runtime ended with this exit code and output.
    Same {
        /// One of the outcomes.
        outcome: &'a CommandOutcome,
        /// With how many runtimes.
        runtimes: usize,
    },
    /// Even with one and the same runtime, runs differ: nothing follows about
    /// the runtimes.
    Varies {
        /// All outcomes.
        outcomes: &'a [CommandOutcome],
    },
    /// Every runtime is of one mind with itself, and they differ.
    Differs {
        /// One outcome for each runtime.
        outcomes: &'a [CommandOutcome],
    },
}

impl<'a> Agreement<'a> {
    /// Compares the outcomes in `results`.
    #[must_use]
    pub fn of(results: &'a Results) -> Self {
        let outcomes = &results.outcomes[..];
        let Some(first) = outcomes.first() else { return Self::Nothing };
        if outcomes.iter().all(|outcome| outcome.agrees_with(first)) {
            return Self::Same { outcome: first, runtimes: outcomes.len() };
        }
        let twice = |(index, outcome): (usize, &CommandOutcome)| {
            outcomes[..index].iter().any(|earlier| earlier.runtime == outcome.runtime)
        };
        if outcomes.iter().enumerate().any(twice) {
            Self::Varies { outcomes }
        } else {
            Self::Differs { outcomes }
        }
    }
}

impl fmt::Display for Agreement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("no run of the command came to its end"),
            Self::Same { outcome, runtimes: 1 } => {
                write!(f, "every run ended with {}", end(outcome))
            }
            Self::Same { outcome, runtimes } => {
                write!(f, "all {runtimes} runtimes agree: {}", end(outcome))
            }
            Self::Varies { outcomes } => {
                f.write_str("THE RUNS DIFFER, even with one runtime")?;
                list(f, outcomes)
            }
            Self::Differs { outcomes } => {
                f.write_str("THE RUNTIMES DIFFER")?;
                list(f, outcomes)
            }
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, outcomes: &[CommandOutcome]) -> fmt::Result {
    for outcome in outcomes {
        let name = crate::view::printable(&outcome.runtime);
        write!(f, "\n  {name}, {} times: {}", outcome.times, end(outcome))?;
    }
    Ok(())
}

fn end(outcome: &CommandOutcome) -> String {
    let digest = outcome.stdout_sha256.get(..SHOWN).unwrap_or(&outcome.stdout_sha256);
    format!(
        "exit code {}, {} bytes of output (SHA-256 {})",
        outcome.exit_code,
        outcome.stdout_bytes,
        crate::view::printable(digest)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn outcome(runtime: &str, exit_code: u8, digest: &str) -> CommandOutcome {
        CommandOutcome {
            runtime: runtime.to_owned(),
            exit_code,
            stdout_sha256: digest.to_owned(),
            stdout_bytes: 3,
            times: 6,
        }
    }

    fn said(outcomes: &[CommandOutcome]) -> String {
        let results = Results { outcomes: outcomes.to_vec(), ..sample::results() };
        Agreement::of(&results).to_string()
    }

    #[test]
    fn a_difference_is_said_loudly_and_put_down_to_the_right_cause() {
        let (container, microvm) = (outcome("container", 0, "ab"), outcome("microvm", 0, "ab"));
        assert!(
            said(&[container.clone(), microvm])
                .starts_with("all 2 runtimes agree: exit code 0")
        );
        let other_output = outcome("microvm", 0, "cd");
        let differs = said(&[container.clone(), other_output.clone()]);
        assert!(differs.starts_with("THE RUNTIMES DIFFER\n  container, 6 times"), "{differs}");
        let other_code = said(&[container.clone(), outcome("microvm", 1, "ab")]);
        assert!(other_code.starts_with("THE RUNTIMES DIFFER"), "{other_code}");
        let unsteady = said(&[container, other_output, outcome("container", 0, "ef")]);
        assert!(unsteady.starts_with("THE RUNS DIFFER, even with one runtime"), "{unsteady}");
        assert!(said(&[]).starts_with("no run"));
    }
}
