//! Runs a command in a microVM through the `Runtime` trait, by hand, and prints
//! its clocks and what KVM counted.
//!
//! ```sh
//! cargo build -p bulkhead-microvm --bin microvm-monitor
//! cargo run -p bulkhead-microvm --example run -- vmlinux disk.erofs COMMAND [ARGUMENTS]
//! ```
//!
//! `TAP=tap0 ADDRESS=10.0.0.2/24 [GATEWAY=10.0.0.1] [MTU=1500]` gives it a network card
//! on that tap device, which is made if it is not there; `CARD=1` one without a network.

use std::error::Error;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

use bulkhead_microvm::{MicroVmConfig, MicroVmRuntime, RootDisk};
use bulkhead_runtime::{
    Bundle, Clock, Create, Instant, Interface, Rootfs, Runtime, SandboxId, Stdio,
};
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
    config.card = std::env::var_os("CARD").is_some();
    config.seccomp = std::env::var_os("NO_SECCOMP").is_none();

    let mut spec = Spec::default();
    spec.set_process(Some(process(command)?));
    let bundle = Bundle { spec, rootfs: Rootfs::Disk(disk.into()) };
    let runtime = MicroVmRuntime::new(config);
    let id = SandboxId::random()?;
    let request = Create::attached(&id, &bundle, Stdio::inherit()?);
    let tap = std::env::var("TAP").ok().map(|name| tap(&name)).transpose()?;
    let interface = tap.as_ref().map(interface).transpose()?;
    let mut sandbox = runtime.create(Create { requested, interface, ..request })?;
    drop(tap);
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

/// The tap device called `name`, up.
fn tap(name: &str) -> Result<File, Box<dyn Error>> {
    let tap = File::options().read(true).write(true).open("/dev/net/tun")?;
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    let mut request = libc::ifreq {
        ifr_name: [0; libc::IFNAMSIZ],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags.try_into()? },
    };
    for (to, from) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    // SAFETY: the request is a valid ifreq, as this ioctl wants.
    if unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    // Its other end is for whoever runs this to set up.
    let up = std::process::Command::new("ip").args(["link", "set", name, "up"]).status()?;
    if up.success() { Ok(tap) } else { Err("the tap device does not come up".into()) }
}

/// A card on `tap`, with what the environment says.
fn interface(tap: &File) -> Result<Interface<'_>, Box<dyn Error>> {
    let address = std::env::var("ADDRESS")?;
    let (address, prefix) = address.split_once('/').ok_or("ADDRESS=a.b.c.d/n")?;
    let gateway = std::env::var("GATEWAY").ok().map(|gateway| gateway.parse()).transpose()?;
    Ok(Interface {
        tap: tap.as_fd(),
        name: "eth0",
        mac: [2, 0, 0, 0, 0, 2],
        address: address.parse()?,
        prefix_length: prefix.parse()?,
        gateway,
        mtu: std::env::var("MTU").map_or(Ok(1500), |mtu| mtu.parse())?,
    })
}
