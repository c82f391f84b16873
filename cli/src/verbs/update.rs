//! `bulkhead update`: other limits for sandboxes that run.

use std::process::ExitCode;

use bulkhead_image::spec;
use bulkhead_runtime::StateDir;

use crate::args::UpdateArgs;
use crate::context::{Context, Guest};
use crate::failure::Failure;
use crate::stdout;

pub fn run(context: &Context, args: &UpdateArgs) -> Result<ExitCode, Failure> {
    let changes = spec::changes(&args.options())?;
    for name in &args.sandboxes {
        let id = context.instances().sandbox(name)?;
        let isolation = StateDir::open(&context.root, &id)?.read()?.isolation;
        context.runtime(isolation, Guest::default())?.load(&id)?.update(&changes)?;
        stdout::line(format_args!("{name}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
