//! `bulkhead image`: what is in the store and how it gets there.

use std::process::ExitCode;

use bulkhead_image::{Image, ImageRef, ImportOptions, RootfsConfig, Store, UnpackLimits};

use crate::args::{ImageVerb, ImportArgs};
use crate::context::Context;
use crate::failure::Failure;
use crate::progress::Bar;
use crate::stdout;

pub fn run(context: &Context, verb: &ImageVerb) -> Result<ExitCode, Failure> {
    let store = context.store();
    match verb {
        ImageVerb::Import(args) => import(store, args),
        ImageVerb::Ls { output } => list(store, output.is_json()),
        ImageVerb::Rm { images } => remove(store, images),
        ImageVerb::Inspect { image } => inspect(&context.image(image)?),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn import(store: &Store, args: &ImportArgs) -> Result<(), Failure> {
    let words = |line: &Option<String>| {
        line.iter().flat_map(|line| line.split_whitespace()).map(str::to_owned).collect()
    };
    let mut limits = UnpackLimits::default();
    if let Some(max) = args.max_size {
        limits.max_bytes = max;
    }
    let options = ImportOptions {
        name: args.name.as_deref().map(str::parse::<ImageRef>).transpose()?,
        limits,
        config: RootfsConfig {
            entrypoint: words(&args.entrypoint),
            cmd: words(&args.cmd),
            env: args.env.clone(),
            working_dir: args.workdir.clone(),
            user: args.user.clone(),
            ..RootfsConfig::default()
        },
        ..ImportOptions::default()
    };
    let bar = Bar::bytes();
    let imported = store.import(&args.source, &options, &bar);
    bar.clear();
    for import in imported? {
        for name in &import.names {
            stdout::line(format_args!("{name} {}", import.image.digest()))?;
        }
    }
    Ok(())
}

fn list(store: &Store, json: bool) -> Result<(), Failure> {
    let images = store.list()?;
    if json {
        let rows: Vec<_> = images
            .iter()
            .map(|listed| {
                serde_json::json!({
                    "name": listed.name.to_string(),
                    "digest": listed.image.digest().to_string(),
                    "size_bytes": listed.image.size_bytes(),
                })
            })
            .collect();
        return stdout::json(&rows);
    }
    stdout::line(format_args!("{:<40} {:<20} {:>12}", "NAME", "DIGEST", "SIZE"))?;
    for listed in &images {
        let digest = listed.image.digest().to_string();
        let short = digest.get(..19).unwrap_or(&digest);
        let size = indicatif::BinaryBytes(listed.image.size_bytes()).to_string();
        stdout::line(format_args!("{:<40} {short:<20} {size:>12}", listed.name.to_string()))?;
    }
    Ok(())
}

fn remove(store: &Store, images: &[String]) -> Result<(), Failure> {
    for image in images {
        for name in store.remove(image)? {
            stdout::line(name)?;
        }
    }
    store.collect_garbage()?;
    Ok(())
}

fn inspect(image: &Image) -> Result<(), Failure> {
    let layers: Vec<_> = image.layer_blobs().iter().map(ToString::to_string).collect();
    let shown = serde_json::json!({
        "digest": image.digest().to_string(),
        "config_digest": image.config_digest().to_string(),
        "config": image.config(),
        "layers": layers,
        "size_bytes": image.size_bytes(),
    });
    stdout::json(&shown)
}
