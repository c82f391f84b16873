//! `bulkhead image`: what is in the store and how it gets there.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bulkhead_image::{Digest, Image, ImageRef, ImportOptions, RootfsConfig, Saved, Store};

use crate::args::{ImageVerb, ImportArgs, SaveArgs};
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
        ImageVerb::Tag { image, name } => {
            Ok(store.tag(&context.image(image)?, &name.parse::<ImageRef>()?)?)
        }
        ImageVerb::Save(args) => save(context, args),
        ImageVerb::History { image, output } => {
            history(store, &context.image(image)?, output.is_json())
        }
        ImageVerb::Df { output } => usage(store, output.is_json()),
        ImageVerb::Prune => prune(store),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn import(store: &Store, args: &ImportArgs) -> Result<(), Failure> {
    let words = |line: &Option<String>| {
        line.iter().flat_map(|line| line.split_whitespace()).map(str::to_owned).collect()
    };
    let options = ImportOptions {
        name: args.name.as_deref().map(str::parse::<ImageRef>).transpose()?,
        limits: args.unpack.limits(),
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

/// Standard output is a terminal, which has no use for an archive.
#[derive(Debug, thiserror::Error)]
#[error("an archive is not for a terminal")]
struct Terminal;

/// The archive's file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", path.display())]
struct Unwritable {
    path: PathBuf,
    #[source]
    source: io::Error,
}

fn save(context: &Context, args: &SaveArgs) -> Result<(), Failure> {
    let images: Vec<_> =
        args.images.iter().map(|name| context.image(name)).collect::<Result<_, _>>()?;
    // An image that was asked for by its digest has no name there.
    let names: Vec<Option<ImageRef>> = std::iter::zip(&args.images, &images)
        .map(|(written, image)| {
            let name = written.parse().ok();
            let known = context.store().names_of(image.digest())?;
            Ok(name.filter(|name| known.contains(name)))
        })
        .collect::<Result<_, Failure>>()?;
    let saved: Vec<_> = std::iter::zip(&images, &names)
        .map(|(image, name)| Saved { image, name: name.as_ref() })
        .collect();
    let bar = Bar::bytes();
    let written = match &args.output {
        Some(path) => {
            let failed = |source| Unwritable { path: path.clone(), source };
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
            // Whoever finds the archive finds all of it.
            let mut file = tempfile::NamedTempFile::new_in(dir.unwrap_or(Path::new(".")))
                .map_err(failed)?;
            let written = context.store().save(&saved, &mut file, &bar);
            written.map(|()| file.persist(path).map(drop).map_err(|e| failed(e.error)))
        }
        None if io::stdout().is_terminal() => {
            return Err(Failure::new(Terminal).hint("name a file with -o, or pipe it on"));
        }
        None => context.store().save(&saved, &mut io::stdout().lock(), &bar).map(Ok),
    };
    bar.clear();
    Ok(written??)
}

fn history(store: &Store, image: &Image, json: bool) -> Result<(), Failure> {
    let size = |blob: Digest| std::fs::metadata(store.blob_path(blob)).map_or(0, |m| m.len());
    let steps: Vec<_> = image
        .history()
        .into_iter()
        .rev()
        .map(|(step, blob)| {
            serde_json::json!({
                "created": step.created(),
                "created_by": step.created_by(),
                "comment": step.comment(),
                "layer": blob.map(|blob| blob.to_string()),
                "size_bytes": blob.map_or(0, size),
            })
        })
        .collect();
    if json {
        return stdout::json(&steps);
    }
    stdout::line(format_args!("{:<20} {:<60} {:>12}", "CREATED", "CREATED BY", "SIZE"))?;
    for step in &steps {
        let text = |key: &str| step[key].as_str().unwrap_or_default().replace('\n', " ");
        let size = indicatif::BinaryBytes(step["size_bytes"].as_u64().unwrap_or(0)).to_string();
        let created: String = text("created").chars().take(19).collect();
        let by: String = text("created_by").chars().take(60).collect();
        stdout::line(format_args!("{created:<20} {by:<60} {size:>12}"))?;
    }
    Ok(())
}

fn usage(store: &Store, json: bool) -> Result<(), Failure> {
    let usage = store.usage()?;
    if json {
        let images: Vec<_> = usage
            .images
            .iter()
            .map(|image| {
                serde_json::json!({
                    "digest": image.digest.to_string(),
                    "names": image.names.iter().map(ToString::to_string).collect::<Vec<_>>(),
                    "size_bytes": image.size_bytes,
                    "shared_bytes": image.shared_bytes,
                    "unique_bytes": image.unique_bytes(),
                })
            })
            .collect();
        return stdout::json(&serde_json::json!({
            "images": images,
            "images_bytes": usage.images_bytes,
            "cached_steps": usage.cached_steps,
            "cache_bytes": usage.cache_bytes,
            "disks_bytes": usage.disks_bytes,
        }));
    }
    let bytes = |bytes: u64| indicatif::BinaryBytes(bytes).to_string();
    stdout::line(format_args!(
        "{:<40} {:>12} {:>12} {:>12}",
        "NAME", "SIZE", "SHARED", "UNIQUE"
    ))?;
    for image in &usage.images {
        let name = image.names.first().map(ToString::to_string).unwrap_or_default();
        let [size, shared, unique] =
            [image.size_bytes, image.shared_bytes, image.unique_bytes()].map(bytes);
        stdout::line(format_args!("{name:<40} {size:>12} {shared:>12} {unique:>12}"))?;
    }
    let (images, steps) = (usage.images.len(), usage.cached_steps);
    stdout::line(format_args!(
        "\n{images} images: {}; the cache of builds, {steps} steps: {}; disks of microVMs: {}",
        bytes(usage.images_bytes),
        bytes(usage.cache_bytes),
        bytes(usage.disks_bytes),
    ))?;
    Ok(())
}

fn prune(store: &Store) -> Result<(), Failure> {
    if store.forget_builds()?.is_none() {
        eprintln!("bulkhead: a build is under way: the cache of builds is kept");
    }
    let garbage = store.collect_garbage()?;
    stdout::line(format_args!(
        "removed {} images, {} layers, blobs and disks, {} leftovers",
        garbage.images, garbage.parts, garbage.leftovers
    ))?;
    Ok(())
}
