//! Which health check an instance gets: the command line's, or the image's.

use std::fs;
use std::time::Duration;

use bulkhead_image::Image;
use bulkhead_instances::health::HealthCheck;
use serde::Deserialize;

use crate::args::RunArgs;
use crate::context::Context;
use crate::failure::Failure;

/// An image's configuration, as far as it is about health. The image-spec does not have it;
/// docker does.
#[derive(Debug, Default, Deserialize)]
struct ImageConfig {
    #[serde(default)]
    config: Inner,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inner {
    #[serde(default)]
    healthcheck: Option<Recorded>,
}

/// What a `HEALTHCHECK` becomes; times in nanoseconds, 0 for the usual one.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Recorded {
    test: Vec<String>,
    interval: u64,
    timeout: u64,
    start_period: u64,
    start_interval: u64,
    retries: u32,
}

/// The check of a run of `image`.
pub fn check(
    context: &Context,
    args: &RunArgs,
    image: &Image,
) -> Result<Option<HealthCheck>, Failure> {
    let asked = &args.health;
    if asked.no_healthcheck {
        return Ok(None);
    }
    let path = context.store().blob_path(image.config_digest());
    let text = fs::read(path)?;
    let recorded = serde_json::from_slice::<ImageConfig>(&text).unwrap_or_default();
    let of_image = recorded.config.healthcheck.as_ref().and_then(of_image);
    let check = match &asked.health_cmd {
        Some(command) if command == "none" => return Ok(None),
        Some(command) => Some(HealthCheck { command: shell(command), ..base(of_image) }),
        None => of_image,
    };
    let Some(mut check) = check else {
        if asked.changes_anything() {
            return Err(Failure::new("there is no health check that could be changed")
                .hint("say what to run with --health-cmd"));
        }
        return Ok(None);
    };
    let set = |to: &mut Duration, value: Option<Duration>| *to = value.unwrap_or(*to);
    set(&mut check.interval, asked.health_interval);
    set(&mut check.timeout, asked.health_timeout);
    set(&mut check.start_period, asked.health_start_period);
    set(&mut check.start_interval, asked.health_start_interval);
    check.retries = asked.health_retries.unwrap_or(check.retries).max(1);
    Ok(Some(check))
}

fn base(of_image: Option<HealthCheck>) -> HealthCheck {
    of_image.unwrap_or_else(|| HealthCheck::of(Vec::new()))
}

fn shell(command: &str) -> Vec<String> {
    ["/bin/sh", "-c", command].map(str::to_owned).into()
}

fn of_image(recorded: &Recorded) -> Option<HealthCheck> {
    let (kind, rest) = recorded.test.split_first()?;
    let command = match kind.as_str() {
        "CMD" if !rest.is_empty() => rest.to_vec(),
        "CMD-SHELL" => shell(rest.first()?),
        // NONE, or nothing that is known.
        _ => return None,
    };
    let usual = HealthCheck::of(command);
    let or = |nanos: u64, usual| if nanos == 0 { usual } else { Duration::from_nanos(nanos) };
    Some(HealthCheck {
        interval: or(recorded.interval, usual.interval),
        timeout: or(recorded.timeout, usual.timeout),
        start_period: or(recorded.start_period, usual.start_period),
        start_interval: or(recorded.start_interval, usual.start_interval),
        retries: if recorded.retries == 0 { usual.retries } else { recorded.retries },
        ..usual
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(text: &str) -> Option<HealthCheck> {
        let config: ImageConfig = serde_json::from_str(text).unwrap();
        config.config.healthcheck.as_ref().and_then(of_image)
    }

    #[test]
    fn a_healthcheck_is_read_as_docker_records_it() {
        let text = r#"{"config": {"Healthcheck": {"Test": ["CMD-SHELL", "test -f /ok"],
            "Interval": 2000000000, "Retries": 5}}}"#;
        let check = recorded(text).unwrap();
        assert_eq!(check.command, ["/bin/sh", "-c", "test -f /ok"]);
        assert_eq!(
            (check.interval, check.timeout),
            (Duration::from_secs(2), HealthCheck::USUAL)
        );
        assert_eq!(check.retries, 5);
        let text = r#"{"config": {"Healthcheck": {"Test": ["CMD", "/check", "now"]}}}"#;
        assert_eq!(recorded(text).unwrap().command, ["/check", "now"]);
    }

    #[test]
    fn no_check_is_none() {
        for text in [
            r#"{"config": {"Healthcheck": {"Test": ["NONE"]}}}"#,
            r#"{"config": {"Healthcheck": {}}}"#,
            r#"{"config": {"Cmd": ["sh"]}}"#,
            "{}",
        ] {
            assert_eq!(recorded(text), None, "{text}");
        }
    }
}
