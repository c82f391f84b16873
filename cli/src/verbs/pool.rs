//! `bulkhead pool`: sandboxes prepared ahead of the request for them.

use std::os::fd::AsFd;
use std::process::ExitCode;

use bulkhead_image::Image;
use bulkhead_image::spec::RunOptions;
use bulkhead_runtime::{Bundle, Error as RuntimeError, Pool, Prepare, Runtime, SandboxId};

use crate::args::{FillArgs, PoolVerb, PrivilegeArgs};
use crate::context::{Context, Guest};
use crate::failure::{Failure, code};
use crate::signals::Signals;
use crate::stdout;

pub fn run(context: &Context, verb: &PoolVerb) -> Result<ExitCode, Failure> {
    match verb {
        PoolVerb::Fill(args) => fill(context, args),
        PoolVerb::Ls { output } => list(context, output.is_json()),
        PoolVerb::Drain { images } => drain(context, images),
    }
}

fn fill(context: &Context, args: &FillArgs) -> Result<ExitCode, Failure> {
    let mut signals = Signals::ending()?;
    let image = context.image(&args.image)?;
    let options = RunOptions {
        // What will run is not known yet, and an image need not have a command.
        entrypoint: Some(vec!["/".to_owned()]),
        ..args.limits.options()
    };
    let guest = Guest::default();
    let runtime = context.warm_runtime(args.isolation, guest)?;
    can_prepare(&*runtime)?;
    let bundle = context.bundle(
        &image,
        args.isolation,
        guest.root_disk,
        &options,
        &PrivilegeArgs::default(),
    )?;
    let pool = Filling { context, runtime: &*runtime, image: &image, name: &args.image };
    while let Some(id) = pool.add(&bundle, args.count)? {
        stdout::line(id)?;
        if signals.next()?.is_some() {
            return Ok(ExitCode::from(code::INTERRUPTED));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses a runtime that prepares no sandboxes.
pub fn can_prepare(runtime: &dyn Runtime) -> Result<(), Failure> {
    if runtime.capabilities().prepare {
        return Ok(());
    }
    let what = "preparing sandboxes";
    let failure =
        Failure::from(RuntimeError::Unsupported { isolation: runtime.isolation(), what });
    Err(failure
        .hint("containers, by root, and microVMs that begin at a template can be prepared"))
}

/// A pool that is being filled.
pub struct Filling<'a> {
    pub context: &'a Context,
    pub runtime: &'a dyn Runtime,
    pub image: &'a Image,
    /// What the image was called.
    pub name: &'a str,
}

impl Filling<'_> {
    /// Prepares one more sandbox for `bundle` and names it, unless `count` wait.
    pub fn add(&self, bundle: &Bundle, count: usize) -> Result<Option<SandboxId>, Failure> {
        let key = self.runtime.pool_key(bundle)?;
        if Pool::at(&self.context.root).count(&key)? >= count {
            return Ok(None);
        }
        let id = SandboxId::random()?;
        let held = [self.image.as_fd()];
        self.runtime.prepare(Prepare { id: &id, bundle, image: self.name, held: &held })?;
        Ok(Some(id))
    }
}

fn list(context: &Context, json: bool) -> Result<ExitCode, Failure> {
    let offers = Pool::at(&context.root).list()?;
    if json {
        stdout::json(&offers)?;
        return Ok(ExitCode::SUCCESS);
    }
    stdout::line(format_args!("{:<14} {:<10} IMAGE", "NAME", "WALL"))?;
    for offer in &offers {
        let (id, wall) = (offer.id.as_str(), offer.isolation.as_str());
        stdout::line(format_args!("{id:<14} {wall:<10} {}", offer.image))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn drain(context: &Context, images: &[String]) -> Result<ExitCode, Failure> {
    let pool = Pool::at(&context.root);
    for offer in pool.list()? {
        if !images.is_empty() && !images.contains(&offer.image) {
            continue;
        }
        // Whoever was quicker uses it.
        let Some(claim) = pool.claim_this(&offer.id)? else { continue };
        context.runtime(offer.isolation, Guest::default())?.purge(claim.id())?;
        drop(claim);
        stdout::line(&offer.id)?;
    }
    Ok(ExitCode::SUCCESS)
}
