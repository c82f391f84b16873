//! The machine a run is made on.
//!
//! What cannot be read is said to be unknown: a figure from an unknown host is
//! still a figure, and a container without /proc/cpuinfo is still a host.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;

use bulkhead_reports::schema::{Host, Kvm};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, FsType, TMPFS_MAGIC, statfs};

use bulkhead_runtime::memory;

const UNKNOWN: &str = "unknown";

/// `KVM_GET_API_VERSION`, `_IO(0xAE, 0x00)` (linux/kvm.h).
const KVM_GET_API_VERSION: libc::c_ulong = 0xAE00;

/// Describes this machine.
#[must_use]
pub fn describe() -> Host {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let os_release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let processor = Processor::parse(&cpuinfo);
    Host {
        cpu_model: processor.model.unwrap_or(UNKNOWN).to_owned(),
        cpus: processor.count,
        memory_bytes: memory::total_bytes().unwrap_or(0),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
            .map_or_else(|_| UNKNOWN.to_owned(), |release| release.trim().to_owned()),
        os: pretty_name(&os_release).unwrap_or_else(|| UNKNOWN.to_owned()),
        cgroups: cgroups().to_owned(),
        virtualised: processor.has("hypervisor"),
        kvm: kvm(&processor),
    }
}

/// What /proc/cpuinfo says.
struct Processor<'a> {
    model: Option<&'a str>,
    flags: &'a str,
    count: u32,
}

impl<'a> Processor<'a> {
    fn parse(cpuinfo: &'a str) -> Self {
        let mut processor = Self { model: None, flags: "", count: 0 };
        for (key, value) in cpuinfo.lines().filter_map(|line| line.split_once(':')) {
            match key.trim() {
                "processor" => processor.count += 1,
                "model name" => processor.model = Some(value.trim()),
                "flags" => processor.flags = value,
                _ => {}
            }
        }
        processor
    }

    fn has(&self, flag: &str) -> bool {
        self.flags.split_whitespace().any(|other| other == flag)
    }
}

/// `PRETTY_NAME` (os-release(5)), without its quotes.
fn pretty_name(os_release: &str) -> Option<String> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    let value = value.trim();
    let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    Some(unquoted.unwrap_or(value).to_owned())
}

/// Whether the cgroups are those of version 1 beside an empty version 2 hierarchy.
pub(crate) fn is_hybrid() -> bool {
    cgroups() == "hybrid"
}

fn cgroups() -> &'static str {
    let kind = |path: &str| statfs(Path::new(path)).ok().map(|found| found.filesystem_type());
    cgroup_version(kind("/sys/fs/cgroup"), kind("/sys/fs/cgroup/unified"))
}

/// Which cgroups there are, by the file systems at /sys/fs/cgroup and at its
/// `unified` directory (systemd's three set-ups; cgroups(7)).
fn cgroup_version(root: Option<FsType>, unified: Option<FsType>) -> &'static str {
    match (root, unified) {
        (Some(CGROUP2_SUPER_MAGIC), _) => "v2",
        (Some(TMPFS_MAGIC), Some(CGROUP2_SUPER_MAGIC)) => "hybrid",
        (Some(TMPFS_MAGIC), _) => "v1",
        _ => "none",
    }
}

fn kvm(processor: &Processor<'_>) -> Option<Kvm> {
    let device = File::options().read(true).write(true).open("/dev/kvm").ok()?;
    // SAFETY: this ioctl takes no argument and returns a number.
    let version = unsafe { libc::ioctl(device.as_raw_fd(), KVM_GET_API_VERSION, 0) };
    let loaded = |module: &str| Path::new("/sys/module").join(module).exists();
    let flavour = flavour(loaded, |flag| processor.has(flag));
    Some(Kvm {
        flavour: flavour.to_owned(),
        api_version: u32::try_from(version).ok()?,
        emulates_guest_kernel: flavour == "kvm_pvm",
    })
}

/// The module behind /dev/kvm. A vendor's module may be loaded without its
/// extension in the processor, but it cannot be the one that works then.
fn flavour(loaded: impl Fn(&str) -> bool, flag: impl Fn(&str) -> bool) -> &'static str {
    if loaded("kvm_intel") && flag("vmx") {
        "kvm_intel"
    } else if loaded("kvm_amd") && flag("svm") {
        "kvm_amd"
    } else if loaded("kvm_pvm") {
        "kvm_pvm"
    } else {
        UNKNOWN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn describes_the_machine_it_runs_on() {
        let host = describe();
        assert!(host.cpus > 0 && host.memory_bytes > 0);
        assert_ne!(host.kernel, UNKNOWN);
        assert!(host.kvm.is_none_or(|kvm| kvm.api_version == 12));
    }

    #[test]
    fn reads_cpuinfo_and_os_release() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Example X\nflags\t\t: fpu hypervisor\n\n\
            processor\t: 1\nmodel name\t: Example X\nflags\t\t: fpu hypervisor\n";
        let processor = Processor::parse(cpuinfo);
        assert_eq!((processor.model, processor.count), (Some("Example X"), 2));
        assert!(processor.has("hypervisor") && !processor.has("hyper"));
        assert_eq!(pretty_name("ID=x\nPRETTY_NAME=\"Some OS 1\"\n").unwrap(), "Some OS 1");
        assert_eq!(pretty_name("PRETTY_NAME=Plain\n").unwrap(), "Plain");
    }

    #[test]
    fn tells_the_cgroup_setups_apart() {
        let (v2, tmpfs) = (Some(CGROUP2_SUPER_MAGIC), Some(TMPFS_MAGIC));
        assert_eq!(cgroup_version(v2, None), "v2");
        assert_eq!(cgroup_version(tmpfs, v2), "hybrid");
        assert_eq!(cgroup_version(tmpfs, tmpfs), "v1");
        assert_eq!(cgroup_version(None, None), "none");
    }

    #[test]
    fn a_module_counts_with_the_extension_it_drives() {
        let only = |name: &'static str| move |other: &str| other == name;
        assert_eq!(flavour(only("kvm_intel"), only("vmx")), "kvm_intel");
        assert_eq!(flavour(only("kvm_amd"), only("svm")), "kvm_amd");
        assert_eq!(flavour(|_| true, |_| false), "kvm_pvm");
        assert_eq!(flavour(only("kvm_intel"), |_| false), UNKNOWN);
    }
}
