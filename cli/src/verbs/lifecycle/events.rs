//! `bulkhead events`: what happens to sandboxes.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use bulkhead_instances::Timestamp;
use bulkhead_instances::events::Event;

use super::time;
use crate::args::EventsArgs;
use crate::context::Context;
use crate::failure::Failure;
use crate::stdout;

/// How often to look where the kernel does not tell.
const LOOK: Duration = Duration::from_millis(250);

pub fn run(context: &Context, args: &EventsArgs) -> Result<ExitCode, Failure> {
    let now = Timestamp::now();
    let (since, until) = (time(args.since.as_ref(), now)?, time(args.until.as_ref(), now)?);
    let filters = args.filter.iter().map(|text| filter(text)).collect::<Result<Vec<_>, _>>()?;
    let events = context.instances().events();
    let mut reader = events.reader()?;
    // Without --since only what happens from now on.
    let since = since.unwrap_or(now);
    let changes = events.changes()?;
    loop {
        let over = until.is_some_and(|until| until < Timestamp::now());
        while let Some(event) = reader.next_event()? {
            let in_time = event.time >= since && until.is_none_or(|until| event.time <= until);
            if in_time && fits(&filters, &event) {
                print(&event, args.output.is_json())?;
            }
        }
        if over {
            return Ok(ExitCode::SUCCESS);
        }
        changes.wait(LOOK)?;
    }
}

fn filter(text: &str) -> Result<(&str, &str), Failure> {
    let keys = ["container", "sandbox", "image", "event", "label", "isolation"];
    match text.split_once('=') {
        Some((key, value)) if keys.contains(&key) => Ok((key, value)),
        Some((key, _)) => Err(Failure::new(format!("there is no filter `{key}`"))
            .hint(format!("those there are are {}", keys.join(", ")))),
        None => Err(Failure::new(format!("`{text}` is not a filter: write KEY=VALUE"))),
    }
}

/// Of several filters with one key, one is enough.
fn fits(filters: &[(&str, &str)], event: &Event) -> bool {
    let one = |key: &str, value: &str| match key {
        "image" => event.image == value,
        "event" => event.action == value,
        "isolation" => event.isolation.as_str() == value,
        "label" => event.attributes.iter().any(|(name, held)| match value.split_once('=') {
            Some((asked, value)) => asked == name && value == held,
            None => name == value,
        }),
        _ => event.name == value || event.id.as_str().starts_with(value),
    };
    filters
        .iter()
        .all(|(key, _)| filters.iter().any(|(other, value)| other == key && one(other, value)))
}

fn print(event: &Event, json: bool) -> Result<(), Failure> {
    if json {
        // One to a line: they are read as they come.
        return Ok(stdout::line(serde_json::to_string(event)?)?);
    }
    let mut text = format!("{} container {} {} (", event.time, event.action, event.id);
    for (name, value) in &event.attributes {
        let _ = write!(text, "{name}={value}, ");
    }
    let _ =
        write!(text, "image={}, name={}, wall={})", event.image, event.name, event.isolation);
    Ok(stdout::line(text)?)
}
