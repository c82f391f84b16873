//! Runs an OCI bundle directory, as `crun run --bundle DIR` does:
//!
//! ```console
//! # cargo run --release -p bulkhead-container --example run -- DIR
//! ```
//!
//! With `BULKHEAD_TIMELINE` set it says when what happened.

use std::path::PathBuf;
use std::process::ExitCode;

use bulkhead_container::ContainerRuntime;
use bulkhead_runtime::{Bundle, Create, Instant, Rootfs, Runtime, SandboxId, Stdio, state};
use oci_spec::runtime::Spec;

fn main() -> ExitCode {
    let requested = Instant::now();
    let Some(dir) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: run DIR");
        return ExitCode::from(125);
    };
    match run(&dir, requested) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{error}");
            let mut source = error.source();
            while let Some(error) = source {
                eprintln!("  {error}");
                source = error.source();
            }
            ExitCode::from(125)
        }
    }
}

fn run(dir: &std::path::Path, requested: Instant) -> Result<u8, Box<dyn std::error::Error>> {
    let spec = Spec::load(dir.join("config.json"))?;
    let root = spec.root().as_ref().map_or("rootfs".into(), |root| root.path().clone());
    let bundle = Bundle { spec, rootfs: Rootfs::Layers(vec![dir.join(root)]) };
    let runtime = ContainerRuntime::new(state::default_root());
    let id = SandboxId::random()?;
    let request = Create::attached(&id, &bundle, Stdio::inherit()?);
    let mut sandbox = runtime.create(Create { requested, ..request })?;
    sandbox.start(None)?;
    let exit = sandbox.wait(None)?.ok_or("the workload has not ended")?;
    sandbox.delete()?;
    if std::env::var_os("BULKHEAD_TIMELINE").is_some() {
        for (clock, instant) in sandbox.timeline().iter() {
            eprintln!("{:>7} us  {clock}", instant.since(requested).as_micros());
        }
    }
    Ok(exit.code())
}
