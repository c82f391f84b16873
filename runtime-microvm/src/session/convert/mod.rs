//! From the runtime-spec configuration to what the guest is sent.
//!
//! The guest parses nothing: names become numbers here, options become flags,
//! and what a virtual machine cannot do is refused here, by name.

mod capability;
mod limits;
mod mount;
mod network;

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bulkhead_guest::protocol::{
    CStrings, Capabilities, Device, Process, Rlimit, Sandbox, Start, TerminalSize,
};
use bulkhead_runtime::{Bundle, BundleError, TerminalSize as TerminalSizeOfHost};

use crate::files::Share;
use oci_spec::runtime::{
    Linux, LinuxCapabilities, LinuxDevice, LinuxDeviceType, LinuxPids, PosixRlimitType,
    Process as OciProcess, Root,
};

pub use network::add as add_network;

/// A configuration that the guest cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The bundle lacks something every bundle has.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The configuration asks for something a microVM does not do.
    #[error("a microVM cannot have {0}")]
    Unsupported(String),
    /// A text that cannot be handed to the kernel.
    #[error("{what} contains a NUL byte")]
    Nul {
        /// Which.
        what: &'static str,
    },
    /// A number outside of what the kernel takes.
    #[error("{what} is out of range: {value}")]
    OutOfRange {
        /// Which.
        what: &'static str,
        /// Its value.
        value: i64,
    },
}

/// File mode creation mask when the configuration has none, as runc's.
const DEFAULT_UMASK: u32 = 0o022;

/// Permission bits of a device without any in the configuration.
const DEFAULT_DEVICE_MODE: u32 = 0o666;

/// Devices every container has (runtime-spec, "Default Devices"): path, major
/// and minor number.
const DEFAULT_DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Links every container has (runtime-spec, "Dev symbolic links", and its
/// `/dev/ptmx`): target and link in turn.
const DEFAULT_LINKS: [&str; 10] = [
    "/proc/self/fd",
    "/dev/fd",
    "/proc/self/fd/0",
    "/dev/stdin",
    "/proc/self/fd/1",
    "/dev/stdout",
    "/proc/self/fd/2",
    "/dev/stderr",
    "pts/ptmx",
    "/dev/ptmx",
];

/// The workload of `bundle` with everything around it. `init` asks for a
/// minimal init as its PID 1, `stdin` says whether its stdin carries anything.
///
/// Namespaces, cgroups, seccomp filters, masked and read-only paths in the
/// configuration keep a workload from the kernel it shares with the host. Here
/// it has a kernel of its own and the machine is the wall, so they are left out
/// (hiding seventeen paths would cost a fifth of what is done before the exec).
/// Memory and CPU limits are the machine's own.
///
/// # Errors
///
/// [`ConvertError`] names what cannot be converted.
pub fn workload(bundle: &Bundle, init: bool, stdin: bool) -> Result<Start, ConvertError> {
    let spec = &bundle.spec;
    let process = process(bundle.process()?, stdin)?;
    let linux = bundle.linux()?;
    limits::refuse(linux)?;
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    let has_dev = mounts.iter().any(|mount| mount.destination() == Path::new("/dev"));
    let mut devices = Vec::new();
    let mut symlinks = CStrings::default();
    if has_dev {
        devices.extend(default_devices());
        symlinks = c_strings("link", DEFAULT_LINKS)?;
    }
    for device in linux.devices().as_deref().unwrap_or_default() {
        devices.push(self::device(device)?);
    }
    let hostname = spec.hostname().as_deref();
    let sandbox = Sandbox {
        hostname: hostname.map(|name| c_string("hostname", name.as_bytes())).transpose()?,
        read_only_root: spec.root().as_ref().and_then(Root::readonly).unwrap_or(false),
        mounts: mount::convert_all(mounts)?,
        shares: !mount::shares(mounts).is_empty(),
        devices,
        symlinks,
        files: Vec::new(),
        pids_limit: pids_limit(linux)?,
        // A machine would refuse at once what a container is killed for later.
        overcommit: true,
        init,
        changes: false,
    };
    Ok(Start { process, sandbox: Some(sandbox), fresh: None, network: None })
}

/// What of the host `bundle` mounts, in the order in which the guest finds it.
pub(crate) fn shares(bundle: &Bundle) -> Vec<Share> {
    mount::shares(bundle.spec.mounts().as_deref().unwrap_or_default())
}

/// Has the guest hand out what the workload changes, in the place of its output.
pub fn want_changes(start: &mut Start) {
    if let Some(sandbox) = &mut start.sandbox {
        sandbox.changes = true;
    }
}

/// A further process for a sandbox that runs.
///
/// # Errors
///
/// [`ConvertError`] names what cannot be converted.
pub fn further(process: &OciProcess, stdin: bool) -> Result<Start, ConvertError> {
    Ok(Start {
        process: self::process(process, stdin)?,
        sandbox: None,
        fresh: None,
        network: None,
    })
}

fn process(process: &OciProcess, stdin: bool) -> Result<Process, ConvertError> {
    let args = process.args().as_deref().unwrap_or_default();
    if args.is_empty() {
        return Err(BundleError::NoCommand.into());
    }
    let user = process.user();
    let rlimits = process.rlimits().as_deref().unwrap_or_default();
    let rlimits = rlimits.iter().map(|limit| Rlimit {
        resource: rlimit_number(limit.typ()),
        soft: limit.soft(),
        hard: limit.hard(),
    });
    Ok(Process {
        args: c_strings("argument", args)?,
        env: c_strings("variable", process.env().as_deref().unwrap_or_default())?,
        cwd: c_string("working directory", process.cwd().as_os_str().as_bytes())?,
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        umask: user.umask().unwrap_or(DEFAULT_UMASK),
        rlimits: rlimits.collect(),
        capabilities: process.capabilities().as_ref().map(capabilities).unwrap_or_default(),
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        oom_score_adj: process.oom_score_adj(),
        stdin,
        terminal: process.terminal().unwrap_or(false).then(|| terminal_size(process)),
    })
}

fn terminal_size(process: &OciProcess) -> TerminalSize {
    let TerminalSizeOfHost { columns, rows } = TerminalSizeOfHost::of_console(process);
    TerminalSize { columns, rows }
}

fn capabilities(sets: &LinuxCapabilities) -> Capabilities {
    let bits = |set: &Option<_>| set.as_ref().map(capability::bits).unwrap_or_default();
    Capabilities {
        bounding: bits(sets.bounding()),
        effective: bits(sets.effective()),
        permitted: bits(sets.permitted()),
        inheritable: bits(sets.inheritable()),
        ambient: bits(sets.ambient()),
    }
}

/// `RLIMIT_*` of asm-generic/resource.h.
fn rlimit_number(kind: PosixRlimitType) -> u32 {
    match kind {
        PosixRlimitType::RlimitCpu => libc::RLIMIT_CPU,
        PosixRlimitType::RlimitFsize => libc::RLIMIT_FSIZE,
        PosixRlimitType::RlimitData => libc::RLIMIT_DATA,
        PosixRlimitType::RlimitStack => libc::RLIMIT_STACK,
        PosixRlimitType::RlimitCore => libc::RLIMIT_CORE,
        PosixRlimitType::RlimitRss => libc::RLIMIT_RSS,
        PosixRlimitType::RlimitNproc => libc::RLIMIT_NPROC,
        PosixRlimitType::RlimitNofile => libc::RLIMIT_NOFILE,
        PosixRlimitType::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        PosixRlimitType::RlimitAs => libc::RLIMIT_AS,
        PosixRlimitType::RlimitLocks => libc::RLIMIT_LOCKS,
        PosixRlimitType::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        PosixRlimitType::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        PosixRlimitType::RlimitNice => libc::RLIMIT_NICE,
        PosixRlimitType::RlimitRtprio => libc::RLIMIT_RTPRIO,
        PosixRlimitType::RlimitRttime => libc::RLIMIT_RTTIME,
    }
}

fn default_devices() -> impl Iterator<Item = Device> {
    DEFAULT_DEVICES.into_iter().map(|(path, major, minor)| Device {
        path: CString::new(path).unwrap_or_default(),
        mode: libc::S_IFCHR | DEFAULT_DEVICE_MODE,
        major,
        minor,
        uid: 0,
        gid: 0,
    })
}

fn device(device: &LinuxDevice) -> Result<Device, ConvertError> {
    let kind = match device.typ() {
        LinuxDeviceType::B => libc::S_IFBLK,
        LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
        LinuxDeviceType::P => libc::S_IFIFO,
        LinuxDeviceType::A => {
            let what = format!("the device {} of no type", device.path().display());
            return Err(ConvertError::Unsupported(what));
        }
    };
    let number = |what, value: i64| {
        u32::try_from(value).map_err(|_| ConvertError::OutOfRange { what, value })
    };
    Ok(Device {
        path: c_string("path of a device", device.path().as_os_str().as_bytes())?,
        mode: kind | device.file_mode().unwrap_or(DEFAULT_DEVICE_MODE) & 0o7777,
        major: number("major number of a device", device.major())?,
        minor: number("minor number of a device", device.minor())?,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    })
}

/// Zero and less mean no limit (runtime-spec, "PIDs").
fn pids_limit(linux: &Linux) -> Result<Option<u32>, ConvertError> {
    let pids = linux.resources().as_ref().and_then(|resources| resources.pids().as_ref());
    match pids.map(LinuxPids::limit) {
        Some(value @ 1..) => u32::try_from(value)
            .map(Some)
            .map_err(|_| ConvertError::OutOfRange { what: "limit of pids", value }),
        _ => Ok(None),
    }
}

fn c_string(what: &'static str, text: &[u8]) -> Result<CString, ConvertError> {
    CString::new(text).map_err(|_| ConvertError::Nul { what })
}

fn c_strings<T: AsRef<str>>(
    what: &'static str,
    texts: impl IntoIterator<Item = T>,
) -> Result<CStrings, ConvertError> {
    let mut list = CStrings::default();
    for text in texts {
        list.push(text.as_ref().as_bytes()).map_err(|_| ConvertError::Nul { what })?;
    }
    Ok(list)
}

#[cfg(test)]
mod tests;
