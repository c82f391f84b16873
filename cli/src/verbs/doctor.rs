//! `bulkhead doctor`: what this host can do, with a hint for each gap.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use bulkhead_bench::host;
use bulkhead_kernels::KvmFlavour;
use bulkhead_reports::schema::VirtualisationKind;
use bulkhead_reports::virtualisation;
use bulkhead_runtime::{Availability, Isolation, Runtime};
use serde::Serialize;

use crate::args::DoctorArgs;
use crate::context::Context;
use crate::failure::{Failure, chain, code};
use crate::packages;
use crate::stdout;

/// One thing looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    found: String,
    hint: Option<String>,
}

impl Check {
    fn new(name: &'static str, ok: bool, found: impl Into<String>, hint: &str) -> Self {
        let hint = (!ok).then(|| hint.to_owned());
        Self { name, ok, found: found.into(), hint }
    }
}

#[derive(Debug, Serialize)]
struct Diagnosis {
    checks: Vec<Check>,
}

pub fn run(context: &Context, args: &DoctorArgs) -> Result<ExitCode, Failure> {
    let mut checks = vec![
        kvm(),
        cgroups(),
        namespaces(),
        overlayfs(),
        erofs()?,
        network(),
        kernel(context)?,
    ];
    checks.extend(context.walls()?.iter().map(|wall| available(&**wall)));
    let diagnosis = Diagnosis { checks };
    if args.output.is_json() {
        stdout::json(&diagnosis)?;
    } else {
        print(&diagnosis)?;
    }
    let healthy = diagnosis.checks.iter().all(|check| check.ok);
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::from(code::FAILURE) })
}

fn print(diagnosis: &Diagnosis) -> Result<(), Failure> {
    for check in &diagnosis.checks {
        let mark = if check.ok { "ok     " } else { "MISSING" };
        stdout::line(format_args!("{mark}  {:<12}  {}", check.name, check.found))?;
        if let Some(hint) = &check.hint {
            stdout::line(format_args!("{:>23}{hint}", "hint: "))?;
        }
    }
    Ok(())
}

/// Which kind of KVM, which decides what microVM figures mean here.
fn kvm() -> Check {
    if !Path::new("/dev/kvm").exists() {
        let hint =
            "load kvm_intel or kvm_amd; inside a virtual machine, enable nested virtualisation";
        return Check::new("kvm", false, "no /dev/kvm", hint);
    }
    let flavour = KvmFlavour::detect();
    match crate::verbs::host::measure(0) {
        Ok(profile) => {
            let badge = virtualisation::badge(profile.kind);
            let meaning = match profile.kind {
                VirtualisationKind::Emulated => {
                    "; microVMs are slow here and their figures say nothing about hardware"
                }
                _ => "",
            };
            let found = format!("{badge}, measured (module {flavour}){meaning}");
            Check::new("kvm", true, found, "")
        }
        Err(error) => {
            let hint = "become root or join the group that owns /dev/kvm";
            Check::new("kvm", false, format!("/dev/kvm: {}", chain(&error)), hint)
        }
    }
}

fn cgroups() -> Check {
    let version = host::describe().cgroups;
    let hint = "mount cgroup2 at /sys/fs/cgroup; without it limits are refused";
    Check::new("cgroups", version != "none", version, hint)
}

fn namespaces() -> Check {
    let known = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];
    let missing: Vec<&str> = known
        .into_iter()
        .filter(|name| !Path::new("/proc/self/ns").join(name).exists())
        .collect();
    let hint = "use a kernel with all of CONFIG_NAMESPACES";
    let found =
        if missing.is_empty() { known.join(" ") } else { format!("no {}", missing.join(", ")) };
    Check::new("namespaces", missing.is_empty(), found, hint)
}

fn overlayfs() -> Check {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let loaded = known.lines().any(|line| line.trim_start_matches("nodev").trim() == "overlay");
    let found = if loaded { "in the kernel" } else { "not loaded" };
    Check::new("overlayfs", loaded, found, "run `modprobe overlay` as root")
}

/// The microVM's disk is made by a program; the host's kernel needs no EROFS.
fn erofs() -> Result<Check, Failure> {
    let missing = packages::missing(&["erofs-utils"])?;
    let found = if missing.is_empty() { "mkfs.erofs" } else { "no mkfs.erofs" };
    let hint = "run `apt-get install erofs-utils`";
    Ok(Check::new("erofs", missing.is_empty(), found, hint))
}

/// Only what sandboxes with a network need.
fn network() -> Check {
    let tun = Path::new("/dev/net/tun").exists();
    let missing: Vec<_> =
        [("nft", bulkhead_network::firewall_is_available()), ("/dev/net/tun", tun)]
            .into_iter()
            .filter_map(|(what, there)| (!there).then_some(what))
            .collect();
    let found = if missing.is_empty() {
        "nft, taps".to_owned()
    } else {
        format!("no {}", missing.join(", "))
    };
    let hint = format!(
        "run `apt-get install {}` for nft; `modprobe tun` for /dev/net/tun",
        bulkhead_network::FIREWALL_PACKAGE
    );
    Check::new("network", missing.is_empty(), found, &hint)
}

fn kernel(context: &Context) -> Result<Check, Failure> {
    let built = context.kernels().default_kernel()?;
    let found = built.as_ref().map_or("not built".to_owned(), |k| k.path.display().to_string());
    Ok(Check::new("kernel", built.is_some(), found, "run `bulkhead kernel build`"))
}

fn available(wall: &dyn Runtime) -> Check {
    let name = match wall.isolation() {
        Isolation::MicroVm => "microvm",
        _ => "container",
    };
    match wall.availability() {
        Availability::Ready => Check::new(name, true, "ready", ""),
        Availability::Unavailable(missing) => {
            let join = |parts: Vec<&str>| parts.join("; ");
            let what = join(missing.iter().map(|m| m.what.as_str()).collect());
            let remedy = join(missing.iter().map(|m| m.remedy.as_str()).collect());
            Check::new(name, false, what, &remedy)
        }
    }
}
