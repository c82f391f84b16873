//! A further process in a sandbox: what is asked for, and the rest from the first one.

use std::collections::HashSet;

use oci_spec::runtime::Process;

use super::{SpecError, environment, user, without_nul};
use crate::Accounts;

/// What a further process is to be, where it differs from the first.
#[derive(Debug, Clone, Default)]
pub struct FurtherOptions {
    /// The command and its arguments.
    pub args: Vec<String>,
    /// `NAME=value` sets a variable, `NAME` alone removes it.
    pub env: Vec<String>,
    /// Working directory.
    pub working_dir: Option<String>,
    /// As for a run.
    pub user: Option<String>,
    /// Standard input and output are a terminal.
    pub terminal: bool,
}

impl FurtherOptions {
    /// Whether the user is given by a name, which the sandbox's account files explain.
    #[must_use]
    pub fn names_user(&self) -> bool {
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        self.user.as_deref().is_some_and(|user| !user.split(':').all(is_number))
    }
}

/// The process that `options` ask for beside `first`, the workload.
///
/// # Errors
///
/// [`SpecError`] says which option is no use.
pub fn further_process(
    first: &Process,
    accounts: &Accounts,
    options: &FurtherOptions,
) -> Result<Process, SpecError> {
    if options.args.first().is_none_or(String::is_empty) {
        return Err(SpecError::NoCommand);
    }
    let args = options.args.iter().cloned().map(without_nul).collect::<Result<_, _>>()?;
    let mut process = first.clone();
    process.set_args(Some(args)).set_terminal(Some(options.terminal)).set_console_size(None);
    let mut variables = first.env().clone().unwrap_or_default();
    if let Some(wanted) = &options.user {
        let user = user::resolve(wanted, accounts)?;
        environment::put(&mut variables, &format!("HOME={}", user.home))?;
        if let Some(mut sets) = process.capabilities().clone() {
            // As for a run: root has them all in force, anybody else none.
            let bounding = sets.bounding().clone().unwrap_or_default();
            let own = if user.uid == 0 { bounding } else { HashSet::new() };
            sets.set_effective(Some(own.clone())).set_permitted(Some(own));
            process.set_capabilities(Some(sets));
        }
        process.set_user(user.into_runtime()?);
    }
    if options.terminal && !variables.iter().any(|variable| variable.starts_with("TERM=")) {
        variables.push("TERM=xterm".to_owned());
    }
    for variable in &options.env {
        environment::put(&mut variables, variable)?;
    }
    let variables = variables.into_iter().map(without_nul).collect::<Result<_, _>>()?;
    process.set_env(Some(variables));
    if let Some(dir) = &options.working_dir {
        if !dir.starts_with('/') {
            return Err(SpecError::WorkingDirectory(dir.clone()));
        }
        process.set_cwd(without_nul(dir.clone())?.into());
    }
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{RunOptions, runtime_spec};
    use oci_spec::image::ImageConfiguration;

    fn first() -> Process {
        let options = RunOptions {
            args: vec!["server".to_owned()],
            env: vec!["A=1".to_owned(), "B=2".to_owned()],
            working_dir: Some("/srv".to_owned()),
            terminal: true,
            ..RunOptions::default()
        };
        let image = ImageConfiguration::default();
        let spec = runtime_spec(&image, &Accounts::default(), &options).unwrap();
        spec.process().clone().unwrap()
    }

    fn further(options: FurtherOptions) -> Process {
        let options = FurtherOptions { args: vec!["sh".to_owned()], ..options };
        further_process(&first(), &Accounts::default(), &options).unwrap()
    }

    fn has(process: &Process, variable: &str) -> bool {
        process.env().iter().flatten().any(|other| other == variable)
    }

    #[test]
    fn what_is_not_asked_for_is_the_workloads() {
        let process = further(FurtherOptions::default());
        assert_eq!(process.args().clone().unwrap(), ["sh"]);
        assert_eq!(process.cwd().to_str(), Some("/srv"));
        assert!(has(&process, "A=1") && has(&process, "B=2"));
        assert_eq!(process.terminal(), Some(false));
        assert_eq!(process.capabilities(), first().capabilities());
    }

    #[test]
    fn what_is_asked_for_goes_first() {
        let process = further(FurtherOptions {
            env: vec!["A=x".to_owned(), "B".to_owned(), "C=3".to_owned()],
            working_dir: Some("/tmp".to_owned()),
            user: Some("7:8".to_owned()),
            terminal: true,
            ..FurtherOptions::default()
        });
        assert!(has(&process, "A=x") && has(&process, "C=3") && has(&process, "HOME=/"));
        assert!(!has(&process, "A=1") && !has(&process, "B=2"));
        assert_eq!((process.user().uid(), process.user().gid()), (7, 8));
        let sets = process.capabilities().clone().unwrap();
        assert!(sets.effective().clone().unwrap().is_empty());
        assert!(!sets.bounding().clone().unwrap().is_empty());
        let terms = process.env().clone().unwrap();
        assert_eq!(terms.iter().filter(|variable| variable.starts_with("TERM=")).count(), 1);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |options| further_process(&first(), &Accounts::default(), &options);
        let sh = vec!["sh".to_owned()];
        assert!(matches!(refused(FurtherOptions::default()), Err(SpecError::NoCommand)));
        let relative = Some("tmp".to_owned());
        let options =
            FurtherOptions { args: sh.clone(), working_dir: relative, ..Default::default() };
        assert!(matches!(refused(options), Err(SpecError::WorkingDirectory(_))));
        let user = Some("nobody".to_owned());
        let options = FurtherOptions { args: sh, user, ..Default::default() };
        assert!(options.names_user());
        assert!(matches!(refused(options), Err(SpecError::UnknownUser(_))));
    }
}
