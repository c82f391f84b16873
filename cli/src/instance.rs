//! From what a run asks for to what is kept of it.

use std::collections::BTreeMap;
use std::time::Duration;

use bulkhead_image::Image;
use bulkhead_image::spec::STOP_SIGNAL;
use bulkhead_instances::{Config, Held, InstanceId, LogLimits, Timestamp};
use bulkhead_runtime::{Isolation, Signal};
use oci_spec::runtime::Spec;

use crate::args::{LifeArgs, PullChoice, RunArgs, WallChoice};
use crate::context::Context;
use crate::failure::Failure;
use crate::{health, launch, pulling};

/// What is kept of a run of `image`, as `spec` describes it.
pub fn config(
    args: &RunArgs,
    isolation: Isolation,
    image: &Image,
    spec: &Spec,
    id: InstanceId,
) -> Result<Config, Failure> {
    let process = spec.process().as_ref();
    let command = process.and_then(|process| process.args().clone()).unwrap_or_default();
    let life = &args.life;
    Ok(Config {
        version: Config::VERSION,
        id,
        name: args.name.as_ref().map(ToString::to_string).unwrap_or_default(),
        image: args.image.clone(),
        image_digest: image.digest().to_string(),
        command,
        isolation,
        created: Timestamp::now(),
        labels: labels(image, life),
        restart: life.restart.unwrap_or_default(),
        stop_signal: stop_signal(spec, life),
        stop_timeout: match life.stop_timeout {
            None => Some(Config::STOP_TIMEOUT),
            Some(seconds) => u64::try_from(seconds).ok().map(Duration::from_secs),
        },
        timeout: args.timeout,
        auto_remove: life.rm,
        interactive: args.terminal.interactive,
        // docker: who is in the background may be attached to again and again.
        stdin_once: args.terminal.interactive && !args.life.detach,
        terminal: args.terminal.tty,
        health: None,
        log: log_limits(life),
        directory: "/".into(),
        run: serde_json::Value::Null,
    })
}

/// Keeps a new instance for a run that is to outlive this command.
pub fn create(context: &Context, args: &RunArgs) -> Result<Held, Failure> {
    for (asked, option) in
        [(args.timeline.is_some(), "--timeline"), (args.warm_pool.is_some(), "--warm-pool")]
    {
        if asked {
            let error = format!("{option} is for a run in the foreground");
            return Err(Failure::new(error).hint("leave --detach out"));
        }
    }
    let isolation = launch::wall(context, args)?;
    let image = pulling::image(context, &args.image, args.pull)?;
    // What is wrong with the request is said now, not when it is started.
    let spec = launch::spec(context, args, isolation, &image)?;
    let id = InstanceId::random()?;
    let config = config(args, isolation, &image, &spec, id)?;
    let mut run = args.clone();
    run.isolation = WallChoice::Fixed(isolation);
    // The name may be another image's by the time it is started again.
    run.image = config.image_digest.clone();
    run.pull = PullChoice::Never;
    // Likewise the caller's environment.
    run.process.env = args.process.passed_on();
    let hostname = args.name.as_ref().map(ToString::to_string);
    run.hostname =
        args.hostname.clone().or(hostname).or_else(|| Some(config.id.short().to_owned()));
    let config = Config {
        health: health::check(context, args, &image)?,
        directory: std::env::current_dir().unwrap_or_else(|_| "/".into()),
        run: serde_json::to_value(&run)?,
        ..config
    };
    Ok(context.instances().create(config)?)
}

fn labels(image: &Image, life: &LifeArgs) -> BTreeMap<String, String> {
    let own = image.config().config().as_ref().and_then(|config| config.labels().clone());
    let mut labels: BTreeMap<String, String> = own.unwrap_or_default().into_iter().collect();
    for label in &life.label {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        labels.insert(key.to_owned(), value.to_owned());
    }
    labels
}

fn stop_signal(spec: &Spec, life: &LifeArgs) -> Signal {
    let of_image = spec.annotations().as_ref().and_then(|all| all.get(STOP_SIGNAL));
    life.stop_signal
        .or_else(|| of_image.and_then(|signal| signal.parse().ok()))
        .unwrap_or(Signal::TERM)
}

fn log_limits(life: &LifeArgs) -> LogLimits {
    let usual = LogLimits::default();
    LogLimits {
        file_bytes: life.log_size.unwrap_or(usual.file_bytes),
        files: life.log_files.unwrap_or(usual.files),
    }
}
