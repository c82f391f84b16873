//! The runtimes that take part in a benchmark: our own walls and other people's
//! programs, each with the image in the form it takes.

use std::path::{Path, PathBuf};

use bulkhead_bench::Candidate;
use bulkhead_bench::peers::OciRuntime;
use bulkhead_image::Image;
use bulkhead_image::spec::RunOptions;
use bulkhead_microvm::RootDisk;
use bulkhead_microvm::foreign::Monitor;
use bulkhead_reports::schema::Start;
use bulkhead_runtime::{Availability, Bundle, Isolation, Runtime};

use crate::args::PrivilegeArgs;
use crate::context::{Context, Guest};
use crate::failure::Failure;
use crate::privileges;

/// Debian's packages of peers.
pub const PEER_PACKAGES: &[&str] = &["crun", "runc", "qemu-system-x86"];

/// What those packages add to a run.
pub const PACKAGED_PEERS: &[&str] = &["crun", "runc", "qemu-microvm"];

/// A runtime as the command line names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeChoice {
    /// One of ours.
    Own(Isolation),
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
    /// Whether it is one of our walls.
    pub fn is_own_wall(&self) -> bool {
        matches!(self, Self::Own(Isolation::Container | Isolation::MicroVm))
    }

    /// Whether it boots our guest kernel.
    pub fn needs_kernel(&self) -> bool {
        matches!(self, Self::Own(Isolation::MicroVm) | Self::Vm(_))
    }
}

impl std::str::FromStr for RuntimeChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(isolation) = text.parse() {
            return Ok(Self::Own(isolation));
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

impl Contender {
    /// `options` are every contender's, `privileges` those of containers. `kernel`
    /// replaces the microVM's; `left_out` says why the microVM cannot take part, if
    /// that is known already.
    pub fn new(
        context: &Context,
        image: &Image,
        choice: &RuntimeChoice,
        options: &RunOptions,
        kernel: Option<&Path>,
        left_out: Option<&str>,
        privileges: &PrivilegeArgs,
    ) -> Result<Self, Failure> {
        let (runtime, version) = runtime(context, choice, kernel)?;
        let isolation = runtime.isolation();
        let left_out = left_out.filter(|_| isolation == Isolation::MicroVm);
        let bundle = match (left_out, runtime.availability()) {
            (Some(reason), _) => Err(reason.to_owned()),
            (None, Availability::Unavailable(missing)) => {
                Err(missing.iter().map(|m| m.what.as_str()).collect::<Vec<_>>().join("; "))
            }
            (None, Availability::Ready) => {
                // Over its own kernel a microVM's root has more privileges than a
                // container's can be given; the options are about containers.
                let default = PrivilegeArgs::default();
                let given =
                    if isolation == Isolation::Container { privileges } else { &default };
                let options = privileges::capabilities(given, options.clone());
                Ok(context.bundle(image, isolation, RootDisk::default(), &options, given)?)
            }
        };
        Ok(Self { runtime, bundle, version, start: Start::Cold })
    }

    /// The same, started in another way.
    pub fn starting(self, start: Start) -> Self {
        Self { start, ..self }
    }

    pub fn candidate(&self) -> Candidate<'_> {
        Candidate {
            runtime: &*self.runtime,
            version: &self.version,
            bundle: self.bundle.as_ref().map_err(String::as_str),
            start: self.start,
        }
    }
}

fn runtime(
    context: &Context,
    choice: &RuntimeChoice,
    kernel: Option<&Path>,
) -> Result<(Box<dyn Runtime>, String), Failure> {
    let oci = |peer: OciRuntime| {
        let version = peer.version();
        (Box::new(peer) as Box<dyn Runtime>, version)
    };
    Ok(match choice {
        RuntimeChoice::Own(isolation) => (
            context.runtime(*isolation, Guest { kernel, ..Guest::default() })?,
            env!("CARGO_PKG_VERSION").to_owned(),
        ),
        RuntimeChoice::Vm(monitor) => {
            let peer = context.foreign(*monitor, kernel)?;
            let version = peer.version().to_owned();
            (Box::new(peer), version)
        }
        RuntimeChoice::OnPath(name) => oci(OciRuntime::on_path(name, &context.root)),
        RuntimeChoice::File(OciProgram { name, path, options }) => {
            oci(OciRuntime::at(name, path, options.clone(), &context.root))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_are_ours_or_programs() {
        assert_eq!("microvm".parse(), Ok(RuntimeChoice::Own(Isolation::MicroVm)));
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
