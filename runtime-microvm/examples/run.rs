//! Runs a command in a microVM through the `Runtime` trait, by hand, and prints
//! its clocks and what KVM counted.
//!
//! ```sh
//! cargo build -p bulkhead-microvm --bin microvm-monitor
//! cargo run -p bulkhead-microvm --example run -- vmlinux disk.erofs COMMAND [ARGUMENTS]
//! ```

use std::error::Error;
use std::ffi::OsString;

use bulkhead_microvm::{MicroVmConfig, MicroVmRuntime, RootDisk};
use bulkhead_runtime::{Bundle, Clock, Create, Instant, Rootfs, Runtime, SandboxId, Stdio};
use oci_spec::runtime::{Process, ProcessBuilder, Spec};

fn main() -> Result<(), Box<dyn Error>> {
    let requested = Instant::now();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [kernel, disk, command @ ..] = &args[..] else {
        return Err("usage: run KERNEL DISK COMMAND [ARGUMENTS]".into());
    };
    // Beside `examples/run` there is `microvm-monitor`.
    let own = std::env::current_exe()?;
    let target = own.parent().and_then(|examples| examples.parent()).ok_or("no directory")?;
    let monitor: Vec<OsString> = vec![target.join("microvm-monitor").into()];
    let scratch = tempfile::tempdir()?;
    let mut config =
        MicroVmConfig::new(scratch.path().to_owned(), monitor, Some(kernel.into()));
    if let Some(mib) = std::env::var_os("MEMORY_MIB") {
        config.default_memory_mib = mib.to_str().ok_or("MEMORY_MIB")?.parse()?;
    }
    config.entropy_device = std::env::var_os("ENTROPY").is_some();
    config.balloon = std::env::var_os("BALLOON").is_some();
    if std::env::var_os("PMEM").is_some() {
        config.root_disk = RootDisk::Pmem;
    }
    config.seccomp = std::env::var_os("NO_SECCOMP").is_none();

    let mut spec = Spec::default();
    spec.set_process(Some(process(command)?));
    let bundle = Bundle { spec, rootfs: Rootfs::Disk(disk.into()) };
    let runtime = MicroVmRuntime::new(config);
    let id = SandboxId::random()?;
    let request = Create::attached(&id, &bundle, Stdio::inherit()?);
    let mut sandbox = runtime.create(Create { requested, ..request })?;
    // `EXEC` is a shell command for a second process beside the first.
    let second = match std::env::var("EXEC") {
        Ok(script) => Some(process(&["sh".to_owned(), "-c".to_owned(), script])?),
        Err(_) => None,
    };
    let stdio = Stdio::inherit()?;
    let outcome = sandbox.start(None).and_then(|()| {
        if let Some(second) = &second {
            let exit = sandbox.exec(second, stdio)?.wait(None);
            eprintln!("second process: {exit:?}");
        }
        sandbox.wait(None)
    });
    if let Err(error) = &outcome {
        eprintln!("{error}");
        let mut source = error.source();
        while let Some(cause) = source {
            eprintln!("  because: {cause}");
            source = cause.source();
        }
    }
    let usage = sandbox.usage();
    let deleted = sandbox.delete();
    let timeline = sandbox.timeline();
    eprintln!("exit: {outcome:?}, deleted: {deleted:?}");
    for (clock, instant) in timeline.iter() {
        eprintln!("{:>24} {:>12.3?}", clock, instant.since(requested));
    }
    if let Some(first) = timeline.between(Clock::Request, Clock::FirstOutput) {
        eprintln!("boot to first output: {first:?}");
    }
    eprintln!("{usage:#?}");
    Ok(())
}

fn process(command: &[String]) -> Result<Process, Box<dyn Error>> {
    Ok(ProcessBuilder::default()
        .args(command)
        .env(["PATH=/bin:/sbin:/usr/bin:/usr/sbin".to_owned()])
        .cwd("/")
        .build()?)
}
