//! The environment of the process.

use oci_spec::image::Config;

use super::user::User;
use super::{RunOptions, SpecError, without_nul};

/// Docker's default for images that set none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Defaults first, then the image's variables, then the caller's; the last
/// one to set a variable wins, in the place of the first.
pub(super) fn of(
    config: &Config,
    user: &User,
    options: &RunOptions,
) -> Result<Vec<String>, SpecError> {
    let mut environment = vec![format!("PATH={DEFAULT_PATH}")];
    environment.extend(options.hostname.iter().map(|name| format!("HOSTNAME={name}")));
    if options.terminal {
        environment.push("TERM=xterm".to_owned());
    }
    environment.push(format!("HOME={}", user.home));
    for variable in config.env().iter().flatten().chain(&options.env) {
        put(&mut environment, variable)?;
    }
    environment.into_iter().map(without_nul).collect()
}

/// Sets a variable, `NAME=value`, or removes one, `NAME`.
pub(super) fn put(environment: &mut Vec<String>, variable: &str) -> Result<(), SpecError> {
    let name = variable.split('=').next().unwrap_or_default();
    if name.is_empty() {
        return Err(SpecError::Environment(variable.to_owned()));
    }
    let prefix = format!("{name}=");
    let known = environment.iter().position(|other| other.starts_with(&prefix));
    match (known, variable.contains('=')) {
        (Some(place), true) => variable.clone_into(&mut environment[place]),
        (None, true) => environment.push(variable.to_owned()),
        (Some(place), false) => drop(environment.remove(place)),
        (None, false) => {}
    }
    Ok(())
}
