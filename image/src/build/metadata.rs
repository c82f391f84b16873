//! The instructions that only change the configuration.

use serde_json::{Value, json};

use super::error::StepError;
use super::parse::{Command, Flag, Op};
use super::stage::Stage;

/// Carries out an instruction; returns what a history says of it, or `None` when it is
/// of another kind.
pub(super) fn apply(stage: &mut Stage, op: &Op) -> Result<Option<String>, StepError> {
    Ok(Some(match op {
        Op::Env(pairs) => {
            let pairs = expanded(stage, pairs)?;
            for (name, value) in &pairs {
                stage.document.set_var(name, value);
            }
            told("ENV", &pairs)
        }
        Op::Label(pairs) => {
            let pairs = expanded(stage, pairs)?;
            for (name, value) in &pairs {
                stage.document.insert("Labels", name, json!(value));
            }
            told("LABEL", &pairs)
        }
        Op::Cmd(command) => {
            let words = words(stage, command);
            stage.document.set("Cmd", json!(words));
            stage.has_cmd = true;
            format!("CMD {}", json!(words))
        }
        Op::Entrypoint(command) => {
            let words = words(stage, command);
            stage.document.set("Entrypoint", json!(words));
            // The command of the base image was meant for its own entrypoint.
            if !stage.has_cmd {
                stage.document.unset("Cmd");
            }
            format!("ENTRYPOINT {}", json!(words))
        }
        Op::Shell(shell) => {
            stage.document.set("Shell", json!(shell));
            format!("SHELL {}", json!(shell))
        }
        Op::User(user) => {
            let user = some(stage.expand(user)?, "a user")?;
            stage.document.set("User", json!(user));
            format!("USER {user}")
        }
        Op::Stopsignal(signal) => {
            let signal = some(stage.expand(signal)?, "a signal")?;
            stage.document.set("StopSignal", json!(signal));
            format!("STOPSIGNAL {signal}")
        }
        Op::Volume(volumes) => {
            for volume in volumes {
                let volume = some(stage.expand(volume)?, "a directory")?;
                stage.document.insert("Volumes", &volume, json!({}));
            }
            format!("VOLUME {}", json!(volumes))
        }
        Op::Expose(ports) => {
            let mut all = Vec::new();
            for word in ports {
                for port in stage.expand(word)?.split_whitespace() {
                    all.extend(exposed(port)?);
                }
            }
            for port in &all {
                stage.document.insert("ExposedPorts", port, json!({}));
            }
            format!("EXPOSE {}", all.join(" "))
        }
        Op::Healthcheck(flags, command) => {
            let check = healthcheck(flags, command.as_ref())?;
            let told = format!("HEALTHCHECK {check}");
            stage.document.set("Healthcheck", check);
            told
        }
        Op::Maintainer(name) => {
            stage.document.set_author(name);
            format!("MAINTAINER {name}")
        }
        Op::Onbuild(trigger) => {
            let keyword = trigger.split_whitespace().next().unwrap_or_default();
            if ["ONBUILD", "FROM", "MAINTAINER"].contains(&&*keyword.to_ascii_uppercase()) {
                let value = keyword.to_owned();
                return Err(StepError::Value { what: "an instruction to trigger", value });
            }
            stage.document.push("OnBuild", trigger);
            format!("ONBUILD {trigger}")
        }
        Op::Arg(_) | Op::Copy(_) | Op::Run(..) | Op::Workdir(_) => return Ok(None),
    }))
}

fn some(text: String, what: &'static str) -> Result<String, StepError> {
    if text.is_empty() { Err(StepError::Value { what, value: text }) } else { Ok(text) }
}

/// Pairs with their variables replaced, all by what they were before the instruction.
fn expanded(
    stage: &Stage,
    pairs: &[(String, String)],
) -> Result<Vec<(String, String)>, StepError> {
    let pair = |(name, value): &(String, String)| {
        Ok((some(stage.expand(name)?, "a name")?, stage.expand(value)?))
    };
    pairs.iter().map(pair).collect()
}

fn told(keyword: &str, pairs: &[(String, String)]) -> String {
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{keyword} {}", pairs.join(" "))
}

/// A command as the configuration has it.
fn words(stage: &Stage, command: &Command) -> Vec<String> {
    match command {
        Command::Exec(words) => words.clone(),
        Command::Shell(text) => {
            let mut words = stage.document.shell();
            words.push(text.clone());
            words
        }
    }
}

/// `80`, `80/udp` or `8000-8010` as configurations have them.
fn exposed(text: &str) -> Result<Vec<String>, StepError> {
    let wrong = || StepError::Value { what: "a port", value: text.to_owned() };
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !["tcp", "udp", "sctp"].contains(&&*protocol) {
        return Err(wrong());
    }
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let port = |text: &str| text.parse::<u16>().map_err(|_| wrong());
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(wrong());
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn healthcheck(flags: &[Flag], command: Option<&Command>) -> Result<Value, StepError> {
    let Some(command) = command else {
        return match flags.first() {
            Some(flag) => Err(StepError::Flag(flag.name.clone())),
            None => Ok(json!({ "Test": ["NONE"] })),
        };
    };
    let test = match command {
        Command::Exec(words) => [&["CMD".to_owned()][..], words].concat(),
        Command::Shell(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
    };
    let mut check = json!({ "Test": test });
    for flag in flags {
        let value = flag.value.as_deref().unwrap_or_default();
        let key = match flag.name.as_str() {
            "interval" => "Interval",
            "timeout" => "Timeout",
            "start-period" => "StartPeriod",
            "start-interval" => "StartInterval",
            "retries" => {
                let wrong = || StepError::Value {
                    what: "a number of retries",
                    value: value.to_owned(),
                };
                check["Retries"] = json!(value.parse::<u32>().map_err(|_| wrong())?);
                continue;
            }
            _ => return Err(StepError::Flag(flag.name.clone())),
        };
        let wrong = || StepError::Value { what: "a time (1m30s)", value: value.to_owned() };
        check[key] = json!(nanoseconds(value).ok_or_else(wrong)?);
    }
    Ok(check)
}

/// A duration as Go writes it: `1h2m3s`, `1.5s`, `300ms`.
fn nanoseconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0_u64;
    if text == "0" {
        return Some(0);
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let unit_end =
            tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let unit: u64 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(unit)?)?;
        let mut digit = unit;
        for c in part.chars() {
            digit /= 10;
            total = total.checked_add(u64::from(c.to_digit(10)?) * digit)?;
        }
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, ns) in [
            ("30s", Some(30_000_000_000)),
            ("1m30s", Some(90_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("300ms", Some(300_000_000)),
            ("0", Some(0)),
            ("5", None),
            ("", None),
            ("1x", None),
            (".s", Some(0)),
        ] {
            assert_eq!(nanoseconds(text), ns, "{text}");
        }
    }

    #[test]
    fn ports_are_read() {
        assert_eq!(exposed("80").unwrap(), ["80/tcp"]);
        assert_eq!(exposed("53/UDP").unwrap(), ["53/udp"]);
        assert_eq!(exposed("1-3").unwrap(), ["1/tcp", "2/tcp", "3/tcp"]);
        for bad in ["", "x", "80/x", "3-1", "70000"] {
            assert!(exposed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_entrypoint_drops_the_command_of_the_base_image_only() {
        let mut stage = Stage::scratch('\\');
        stage.document.set("Cmd", json!(["base"]));
        let entrypoint = Op::Entrypoint(Command::Exec(vec!["e".to_owned()]));
        apply(&mut stage, &entrypoint).unwrap();
        assert!(stage.document.list("Cmd").is_empty());
        apply(&mut stage, &Op::Cmd(Command::Shell("x y".to_owned()))).unwrap();
        apply(&mut stage, &entrypoint).unwrap();
        assert_eq!(stage.document.list("Cmd"), ["/bin/sh", "-c", "x y"]);
    }
}
