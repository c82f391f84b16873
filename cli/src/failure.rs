//! One readable message, one hint, one exit code.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::process::ExitCode;

use bulkhead_instances::control::{ControlError, Refusal};
use bulkhead_runtime::Error as RuntimeError;

/// Exit codes of `bulkhead run` beside the workload's own (as docker's), and
/// those of the other verbs.
pub mod code {
    /// A verb failed.
    pub const FAILURE: u8 = 1;
    /// `compare --fail-on-regression` found one.
    pub const REGRESSION: u8 = 3;
    /// `--timeout` ran out, as with timeout(1).
    pub const TIMED_OUT: u8 = 124;
    /// The sandbox itself failed.
    pub const SANDBOX: u8 = 125;
    /// The command cannot be executed.
    pub const NOT_EXECUTABLE: u8 = 126;
    /// The command was not found.
    pub const NOT_FOUND: u8 = 127;
    /// Interrupted: 128 + SIGINT.
    pub const INTERRUPTED: u8 = 130;
}

/// Why a verb failed, ready to be shown.
#[derive(Debug)]
pub struct Failure {
    error: Box<dyn StdError + Send + Sync>,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    /// A failure with exit code 1.
    pub fn new(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { error: error.into(), hint: None, code: code::FAILURE }
    }

    /// Says what the user can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With another exit code.
    #[must_use]
    pub fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// As a failure of `bulkhead run`, whose exit code 1 belongs to the workload.
    #[must_use]
    pub fn of_run(mut self) -> Self {
        if self.code == code::FAILURE {
            self.code = code::SANDBOX;
        }
        self
    }

    /// As a failure of `bulkhead exec`: whatever keeps the command from being run in its
    /// sandbox is 1, as docker has it.
    #[must_use]
    pub fn of_exec(mut self) -> Self {
        if self.code == code::SANDBOX {
            self.code = code::FAILURE;
        }
        self
    }

    /// For somebody else to show.
    pub fn refusal(&self) -> Refusal {
        let mut causes = vec![self.error.to_string()];
        let mut cause = self.error.source();
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        Refusal { causes, hint: self.hint.clone(), code: self.code }
    }

    /// What another process wanted to be shown.
    pub fn relayed(refusal: Refusal) -> Self {
        let Refusal { causes, hint, code } = refusal;
        let chain = causes
            .into_iter()
            .rev()
            .fold(None, |source, text| Some(Box::new(Relayed { text, source })));
        let error: Box<dyn StdError + Send + Sync> = match chain {
            Some(relayed) => relayed,
            None => "it failed without a word".into(),
        };
        Self { error, hint, code }
    }

    /// What a supervisor answered instead of doing it.
    pub fn from_control(error: ControlError) -> Self {
        match error {
            ControlError::Refused(refusal) => Self::relayed(refusal),
            other => Self::new(other),
        }
    }

    /// Prints the message to standard error and gives the exit code.
    pub fn report(&self) -> ExitCode {
        eprint!("{}", self.message());
        ExitCode::from(self.code)
    }

    /// The error and its causes, one to a line, then the hint.
    fn message(&self) -> String {
        let mut text = format!("bulkhead: {}\n", self.error);
        let mut cause = self.error.source();
        while let Some(error) = cause {
            let _ = writeln!(text, "  because: {error}");
            cause = error.source();
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "hint: {hint}");
        }
        text
    }
}

/// An error of another process.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Relayed {
    text: String,
    #[source]
    source: Option<Box<Relayed>>,
}

/// An error and its causes on one line.
pub fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

/// The error and its causes on one line.
impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&chain(&*self.error))
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let error: Box<dyn StdError + Send + Sync> = error.into();
        match error.downcast::<RuntimeError>() {
            Ok(error) => from_runtime(*error),
            Err(error) => Self::new(error),
        }
    }
}

fn from_runtime(error: RuntimeError) -> Failure {
    let (hint, code) = match &error {
        RuntimeError::Unavailable { missing, .. } => {
            let remedies: Vec<&str> = missing.iter().map(|m| m.remedy.as_str()).collect();
            (Some(remedies.join("; ")), code::SANDBOX)
        }
        RuntimeError::WorkloadNotFound { .. } => (None, code::NOT_FOUND),
        RuntimeError::WorkloadNotExecutable { .. } => (None, code::NOT_EXECUTABLE),
        RuntimeError::Interrupted { .. } => (None, code::INTERRUPTED),
        _ => (None, code::SANDBOX),
    };
    Failure { error: error.into(), hint, code }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_runtime::{Isolation, Missing};

    #[test]
    fn the_chain_is_printed_once_and_the_hint_last() {
        let source = std::io::Error::from_raw_os_error(libc::EACCES);
        let error = RuntimeError::Wall {
            isolation: Isolation::Container,
            step: "creating namespaces",
            source: source.into(),
        };
        let message = Failure::from(error).hint("become root").message();
        assert_eq!(
            message,
            "bulkhead: container: creating namespaces\n  \
             because: Permission denied (os error 13)\nhint: become root\n"
        );
    }

    #[test]
    fn exit_codes_are_dockers() {
        let not_found = RuntimeError::WorkloadNotFound { command: "x".to_owned() };
        assert_eq!(Failure::from(not_found).code, 127);
        let missing = vec![Missing { what: "/dev/kvm".into(), remedy: "load kvm".into() }];
        let unavailable = RuntimeError::Unavailable { isolation: Isolation::MicroVm, missing };
        let failure = Failure::from(unavailable);
        assert_eq!((failure.code, failure.hint.as_deref()), (125, Some("load kvm")));
    }
}
