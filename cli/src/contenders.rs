//! The runtimes that take part in a benchmark: our own walls and other people's
//! programs, each with the image in the form it takes.

use std::path::{Path, PathBuf};

use bulkhead_bench::peers::OciRuntime;
use bulkhead_bench::{Candidate, WOKEN};
use bulkhead_image::Image;
use bulkhead_image::spec::RunOptions;
use bulkhead_microvm::foreign::Monitor;
use bulkhead_microvm::{RootDisk, StartFrom};
use bulkhead_reports::schema::Start;
use bulkhead_runtime::{Availability, Bundle, Error, Isolation, Runtime, SandboxId};

use crate::args::PrivilegeArgs;
use crate::context::{Context, Guest};
use crate::failure::{Failure, chain};
use crate::privileges;
use crate::verbs::bench::PROBE;
use crate::verbs::bench::templates::{Templates, Wanted};

/// Debian's packages of peers.
pub const PEER_PACKAGES: &[&str] = &["crun", "runc", "qemu-system-x86"];

/// What those packages add to a run.
pub const PACKAGED_PEERS: &[&str] = &["crun", "runc", "qemu-microvm"];

/// The name of our microVM with its root filesystem mapped.
const MAPPED: &str = "microvm-pmem";

/// A runtime as the command line names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeChoice {
    /// One of ours; a microVM shows its root filesystem like this.
    Own(Isolation, RootDisk),
    /// Our guest under another monitor.
    Vm(Monitor),
    /// An OCI runtime found on PATH by its name.
    OnPath(String),
    /// An OCI runtime in a file, with options of its own.
    File(OciProgram),
}

/// `[NAME=]PATH [OPTION…]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OciProgram {
    name: String,
    path: PathBuf,
    options: Vec<String>,
}

impl RuntimeChoice {
    /// One of ours as it usually is.
    pub fn own(isolation: Isolation) -> Self {
        Self::Own(isolation, RootDisk::default())
    }

    /// Which of our walls it is, if it is one.
    fn own_wall(&self) -> Option<Isolation> {
        match self {
            Self::Own(wall @ (Isolation::Container | Isolation::MicroVm), _) => Some(*wall),
            _ => None,
        }
    }

    /// How a microVM is shown its root filesystem.
    fn root_disk(&self) -> RootDisk {
        match self {
            Self::Own(_, root_disk) => *root_disk,
            _ => RootDisk::default(),
        }
    }

    /// Whether it boots our guest kernel.
    pub fn needs_kernel(&self) -> bool {
        matches!(self, Self::Own(Isolation::MicroVm, _) | Self::Vm(_))
    }
}

impl std::str::FromStr for RuntimeChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(isolation) = text.parse() {
            return Ok(Self::own(isolation));
        }
        if text == MAPPED {
            return Ok(Self::Own(Isolation::MicroVm, RootDisk::Pmem));
        }
        let monitor = Monitor::ALL.into_iter().find(|monitor| monitor.as_str() == text);
        monitor.map_or_else(|| name(text).map(Self::OnPath), |monitor| Ok(Self::Vm(monitor)))
    }
}

impl std::str::FromStr for OciProgram {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.split_whitespace().map(str::to_owned);
        let first = words.next().ok_or("expected the path of a program")?;
        let (given, path) = match first.split_once('=') {
            Some((name, path)) => (Some(name), path),
            None => (None, first.as_str()),
        };
        let path = PathBuf::from(path);
        let file = path.file_name().and_then(|name| name.to_str());
        let name = name(given.or(file).unwrap_or_default())?;
        Ok(Self { name, path, options: words.collect() })
    }
}

/// A name for results and reports.
fn name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{}` is no name of a runtime", text.escape_debug()))
    }
}

/// A runtime with the image in the form it takes.
pub struct Contender {
    runtime: Box<dyn Runtime>,
    bundle: Result<Bundle, String>,
    version: String,
    start: Start,
}

/// What all contenders of a run have in common.
pub struct Common<'a> {
    pub context: &'a Context,
    pub image: &'a Image,
    pub options: &'a RunOptions,
    /// Replaces the microVM's.
    pub kernel: Option<&'a Path>,
    /// Why the microVM cannot take part, if that is known already.
    pub left_out: Option<&'a str>,
    /// Those of containers.
    pub privileges: &'a PrivilegeArgs,
    /// Where microVMs go on from that do not boot.
    pub templates: &'a Templates<'a>,
}

impl Common<'_> {
    /// `choice`, started like this; none where there is no such start.
    pub fn contender(
        &self,
        choice: &RuntimeChoice,
        start: Start,
    ) -> Result<Option<Contender>, Failure> {
        let (runtime, version) = self.runtime(choice, start)?;
        let there_is = match (start, choice.own_wall()) {
            // Who has no pool here says so; who never has one is not asked for it.
            (Start::Cold, _) | (Start::Pool, Some(Isolation::Container)) => true,
            (Start::Warm | Start::App, wall) => wall == Some(Isolation::MicroVm),
            (Start::Pool, wall) => wall.is_some() && runtime.capabilities().prepare,
        };
        if !there_is {
            return Ok(None);
        }
        let mut bundle = self.bundle(choice, &*runtime)?;
        if let (RuntimeChoice::Own(Isolation::MicroVm, disk), Ok(machine)) = (choice, &bundle)
            && start != Start::Cold
        {
            let booting = self.context.microvm_from(self.guest(*disk), StartFrom::Kernel)?;
            let wanted = match start {
                Start::App => Wanted::application(*disk, application(machine)),
                _ => Wanted::machine(*disk, machine),
            };
            match self.templates.make(&SandboxId::random()?, &booting, &wanted) {
                Err(error @ Error::Interrupted { .. }) => return Err(error.into()),
                Err(error) => bundle = Err(format!("no template: {}", chain(&error))),
                Ok(()) => {}
            }
        }
        Ok(Some(Contender { runtime, bundle, version, start }))
    }

    /// The image as the runtime takes it, or why it cannot take part.
    fn bundle(
        &self,
        choice: &RuntimeChoice,
        runtime: &dyn Runtime,
    ) -> Result<Result<Bundle, String>, Failure> {
        let isolation = runtime.isolation();
        let left_out = self.left_out.filter(|_| isolation == Isolation::MicroVm);
        Ok(match (left_out, runtime.availability()) {
            (Some(reason), _) => Err(reason.to_owned()),
            (None, Availability::Unavailable(missing)) => {
                Err(missing.iter().map(|m| m.what.as_str()).collect::<Vec<_>>().join("; "))
            }
            (None, Availability::Ready) => {
                // Over its own kernel a microVM's root has more privileges than a
                // container's can be given; the options are about containers.
                let default = PrivilegeArgs::default();
                let given =
                    if isolation == Isolation::Container { self.privileges } else { &default };
                let options = privileges::capabilities(given, self.options.clone());
                let disk = choice.root_disk();
                Ok(self.context.bundle(self.image, isolation, disk, &options, given)?)
            }
        })
    }

    /// What our microVM boots with.
    fn guest(&self, root_disk: RootDisk) -> Guest<'_> {
        Guest { kernel: self.kernel, root_disk, ..Guest::default() }
    }

    fn runtime(
        &self,
        choice: &RuntimeChoice,
        start: Start,
    ) -> Result<(Box<dyn Runtime>, String), Failure> {
        let context = self.context;
        let ours = env!("CARGO_PKG_VERSION").to_owned();
        let oci = |peer: OciRuntime| {
            let version = peer.version();
            (Box::new(peer) as Box<dyn Runtime>, version)
        };
        Ok(match choice {
            RuntimeChoice::Own(Isolation::MicroVm, root_disk) => {
                let from = match start {
                    Start::Cold => StartFrom::Kernel,
                    Start::Warm | Start::Pool | Start::App => {
                        StartFrom::Template(self.templates.snapshots())
                    }
                };
                (Box::new(context.microvm_from(self.guest(*root_disk), from)?), ours)
            }
            RuntimeChoice::Own(isolation, _) => {
                (context.runtime(*isolation, Guest::default())?, ours)
            }
            RuntimeChoice::Vm(monitor) => {
                let peer = context.foreign(*monitor, self.kernel)?;
                let version = peer.version().to_owned();
                (Box::new(peer), version)
            }
            RuntimeChoice::OnPath(name) => oci(OciRuntime::on_path(name, &context.root)),
            RuntimeChoice::File(OciProgram { name, path, options }) => {
                oci(OciRuntime::at(name, path, options.clone(), &context.root))
            }
        })
    }
}

/// The application that is saved in a machine: the one the harness asks for.
fn application(bundle: &Bundle) -> Bundle {
    let mut bundle = bundle.clone();
    if let Some(process) = bundle.spec.process_mut() {
        process.set_args(Some([PROBE, WOKEN].map(str::to_owned).into()));
    }
    bundle
}

impl Contender {
    pub fn candidate(&self) -> Candidate<'_> {
        Candidate {
            runtime: &*self.runtime,
            version: &self.version,
            bundle: self.bundle.as_ref().map_err(String::as_str),
            start: self.start,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_are_ours_or_programs() {
        assert_eq!("microvm".parse(), Ok(RuntimeChoice::own(Isolation::MicroVm)));
        let mapped = RuntimeChoice::Own(Isolation::MicroVm, RootDisk::Pmem);
        assert_eq!("microvm-pmem".parse(), Ok(mapped));
        assert_eq!("firecracker".parse(), Ok(RuntimeChoice::Vm(Monitor::Firecracker)));
        assert_eq!("crun".parse(), Ok(RuntimeChoice::OnPath("crun".to_owned())));
        for wrong in ["", "a/b", "x y", "../runc"] {
            assert!(wrong.parse::<RuntimeChoice>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_program_may_have_a_name_and_options() {
        let plain: OciProgram = "/opt/youki".parse().unwrap();
        assert_eq!((plain.name.as_str(), plain.options.len()), ("youki", 0));
        let full: OciProgram = "new=/opt/runsc --platform=systrap".parse().unwrap();
        assert_eq!((full.name.as_str(), full.path.as_path()), ("new", Path::new("/opt/runsc")));
        assert_eq!(full.options, ["--platform=systrap"]);
        assert!("  ".parse::<OciProgram>().is_err());
        assert!("/".parse::<OciProgram>().is_err());
    }
}
