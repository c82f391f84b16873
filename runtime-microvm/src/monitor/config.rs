//! What a monitor is told at its start.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{Prefetch, RootDisk};
use crate::devices::virtio::net::Link;
use crate::throttle::CpuLimit;

/// Everything a monitor needs to know; the paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorConfig {
    /// The sandbox's directory, in which the monitor makes its files.
    pub state_dir: PathBuf,
    /// The process that dies with the monitor, or rather the other way round.
    pub parent: i32,
    /// Guest memory, MiB.
    pub memory_mib: u32,
    /// A limit below the one processor.
    pub cpu_limit: Option<CpuLimit>,
    /// The kernel.
    pub kernel: PathBuf,
    /// What is added to its command line.
    pub command_line: String,
    /// The root filesystem.
    pub disk: PathBuf,
    /// How the guest is shown it.
    pub root_disk: RootDisk,
    /// Give the guest a source of randomness.
    pub entropy_device: bool,
    /// Let it give memory back that it has freed.
    pub balloon: bool,
    /// Give it a network card.
    pub card: bool,
    /// The network behind that, whose tap device is the first descriptor that comes
    /// with this.
    pub link: Option<Link>,
    /// Give it a device for files of the host.
    pub shares: bool,
    /// There is a file server: its socket and window come with this.
    pub served: bool,
    /// Print the kernel's messages to [`files::CONSOLE`].
    pub console: bool,
    /// How long the guest may take until its PID 1 is ready.
    pub boot_timeout: Duration,
    /// The host's processors are Intel's.
    pub intel: bool,
    /// Their KVM emulates the guest's kernel.
    pub emulated: bool,
    /// The directory of the snapshot to go on from, instead of booting the kernel.
    pub restore: Option<PathBuf>,
    /// When its pages come.
    pub prefetch: Prefetch,
    /// A workload runs in that already.
    pub resumes: bool,
    /// Wait with the restored machine for whoever asks for it, instead of serving, and
    /// ending with, the parent.
    pub waits: bool,
    /// Give up every system call the monitor does not need.
    pub seccomp: bool,
}

/// Names of the files in the state directory.
pub mod files {
    /// The clocks, see [`crate::timeline`].
    pub const TIMELINE: &str = "timeline";
    /// Where other processes than the creator ask for something.
    pub const CONTROL: &str = "control";
    /// The host's side of vsock.
    pub const VSOCK: &str = "vsock";
    /// What the guest's serial port printed.
    pub const CONSOLE: &str = "console.log";
}
