//! `bulkhead build`.

mod host;

use std::collections::BTreeMap;
use std::process::ExitCode;

use bulkhead_image::build::{BuildError, BuildOptions};

use crate::args::BuildArgs;
use crate::context::Context;
use crate::failure::{Failure, code};
use crate::stdout;
use host::Builder;

/// A value on the command line that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("`{value}` is not {what}")]
struct Malformed {
    value: String,
    what: &'static str,
}

pub fn run(context: &Context, args: &BuildArgs) -> Result<ExitCode, Failure> {
    let options = options(args)?;
    let host = Builder::new(context, args)?;
    let built = context.store().build(&options, &host);
    let built = built.map_err(|error| {
        let interrupted = matches!(error, BuildError::Interrupted);
        let failure = host.explain(Failure::new(error));
        if interrupted { failure.code(code::INTERRUPTED) } else { failure }
    })?;
    for name in &built.unused_args {
        eprintln!("bulkhead: no ARG asks for --build-arg {name}");
    }
    if !args.quiet {
        for name in &args.tag {
            eprintln!("named {name}");
        }
    }
    stdout::line(built.image.digest())?;
    Ok(ExitCode::SUCCESS)
}

fn options(args: &BuildArgs) -> Result<BuildOptions, Failure> {
    let mut values = BTreeMap::new();
    for text in &args.build_arg {
        match text.split_once('=') {
            Some((name, value)) => drop(values.insert(name.to_owned(), value.to_owned())),
            None => values.extend(std::env::var(text).ok().map(|value| (text.clone(), value))),
        }
    }
    let mut labels = BTreeMap::new();
    for text in &args.label {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        labels.insert(name.to_owned(), value.to_owned());
    }
    Ok(BuildOptions {
        context: args.context.clone(),
        file: args.file.clone(),
        names: args.tag.clone(),
        args: values,
        labels,
        target: args.target.clone(),
        no_cache: args.no_cache,
        epoch: epoch()?,
    })
}

/// The time that nothing in a reproducible image is later than
/// (reproducible-builds.org, "SOURCE_DATE_EPOCH").
fn epoch() -> Result<Option<i64>, Malformed> {
    let Ok(value) = std::env::var("SOURCE_DATE_EPOCH") else { return Ok(None) };
    if value.is_empty() {
        return Ok(None);
    }
    let seconds = value.parse().ok().filter(|seconds| (0..1 << 40).contains(seconds));
    match seconds {
        Some(seconds) => Ok(Some(seconds)),
        None => Err(Malformed { value, what: "a number of seconds (SOURCE_DATE_EPOCH)" }),
    }
}
