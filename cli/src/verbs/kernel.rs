//! `bulkhead kernel`: the guest kernels of this machine.

use std::path::PathBuf;
use std::process::ExitCode;

use bulkhead_kernels::builder::{self, PACKAGES, Progress, Stage};
use bulkhead_kernels::{Kernel, Origin};

use crate::args::KernelVerb;
use crate::context::Context;
use crate::failure::Failure;
use crate::packages;
use crate::progress::Bar;
use crate::stdout;

pub fn run(context: &Context, verb: &KernelVerb) -> Result<ExitCode, Failure> {
    match verb {
        KernelVerb::Build { packages } => {
            stdout::line(ensure(context, packages.no_install)?.path.display())?;
        }
        KernelVerb::Ls { output } => list(context, output.is_json())?,
        KernelVerb::Import { path } => {
            stdout::line(context.kernels().import(path)?.path.display())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The current kernel, built first when there is none.
pub fn ensure(context: &Context, no_install: bool) -> Result<Kernel, Failure> {
    if let Some(kernel) = context.kernels().default_kernel()? {
        return Ok(kernel);
    }
    packages::ensure(PACKAGES, no_install)?;
    let mut bar = Drawn { bar: Bar::steps(), stage: None };
    let built = builder::build(context.kernels(), &mut bar);
    bar.bar.clear();
    let kernel = built?;
    eprintln!("Guest kernel built: {}", kernel.path.display());
    Ok(kernel)
}

/// The build on a progress bar.
struct Drawn {
    bar: Bar,
    stage: Option<Stage>,
}

impl Progress for Drawn {
    fn step(&mut self, stage: Stage, done: u64, total: u64) {
        if self.stage != Some(stage) {
            self.stage = Some(stage);
            self.bar.begin(stage.to_string(), Some(total));
        }
        self.bar.set(done, total);
    }
}

fn list(context: &Context, json: bool) -> Result<(), Failure> {
    let kernels = context.kernels().list()?;
    if json {
        return stdout::json(&kernels);
    }
    stdout::line(format_args!("{:<36} {:<20} {:<10} PATH", "NAME", "RELEASE", "ORIGIN"))?;
    for kernel in &kernels {
        let origin = match kernel.origin {
            Origin::Built { .. } => "built",
            Origin::Imported { .. } => "imported",
        };
        let release = kernel.release.as_deref().unwrap_or("-");
        let (name, path) = (&kernel.name, kernel.path.display());
        stdout::line(format_args!("{name:<36} {release:<20} {origin:<10} {path}"))?;
    }
    Ok(())
}

/// The kernel a microVM will boot: the user's, or the current one.
pub fn chosen(
    context: &Context,
    given: Option<&PathBuf>,
    no_install: bool,
) -> Result<PathBuf, Failure> {
    match given {
        Some(path) => Ok(path.clone()),
        None => Ok(ensure(context, no_install)?.path),
    }
}
