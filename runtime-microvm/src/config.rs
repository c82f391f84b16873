//! How microVMs are made on this host.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use bulkhead_runtime::Bundle;
use serde::{Deserialize, Serialize};

use crate::error::MicroVmError;
use crate::snapshot::Snapshots;

/// The least memory a guest kernel boots in, MiB.
const LEAST_MEMORY_MIB: u32 = 32;
const MIB: i64 = 1 << 20;

/// Whether the guest kernel prints its messages.
///
/// With either choice the last messages of a guest that fails are in the error:
/// those it printed, or else those found in its memory (see `guest_log`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Console {
    /// Not at all: each character would be an exit.
    #[default]
    Off,
    /// To `console.log` in the sandbox's directory, from the first line on; for
    /// kernels that fail before they have a log.
    Always,
}

/// How a guest is shown the root filesystem's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RootDisk {
    /// As a disk to read from: pages of files the guest uses are copied into its
    /// memory.
    #[default]
    Blk,
    /// As memory that all guests of an image share with the host's page cache; the
    /// guest's kernel needs virtio-pmem and EROFS with DAX.
    Pmem,
}

/// Where a machine begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StartFrom {
    /// At its kernel's first instruction.
    #[default]
    Kernel,
    /// Where the template among these is that fits it; without one, at its kernel.
    Template(Snapshots),
    /// Where the snapshot in this directory is, and nowhere else.
    Snapshot(PathBuf),
}

/// When the pages of a saved machine come into the one that goes on from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prefetch {
    /// Each when the guest touches it first.
    Lazy,
    /// All that was saved before the guest runs; what it writes to is still copied then.
    Eager,
    /// Before the guest runs those that the first such machine had touched by the time its
    /// workload ran, copied where it wrote to them. That first one goes on lazily.
    #[default]
    WorkingSet,
}

/// Settings of a [`crate::MicroVmRuntime`].
#[derive(Debug, Clone)]
pub struct MicroVmConfig {
    /// Directory of the sandboxes' state.
    pub root: PathBuf,
    /// Program and first arguments of the monitor; it calls
    /// [`crate::monitor_main`] with the arguments that follow.
    pub monitor: Vec<OsString>,
    /// The guest kernel, when there is one.
    pub kernel: Option<PathBuf>,
    /// What is added to the kernel command line.
    pub command_line: String,
    /// Guest memory of a bundle without a limit, MiB.
    pub default_memory_mib: u32,
    /// How the guest is shown its root filesystem.
    pub root_disk: RootDisk,
    /// Where machines begin.
    pub start: StartFrom,
    /// When pages come into a machine that goes on from a snapshot.
    pub prefetch: Prefetch,
    /// Whether the guest kernel prints its messages.
    pub console: Console,
    /// How long a guest may take to boot; `None` for what suits this host's KVM.
    pub boot_timeout: Option<Duration>,
    /// Give the guest a virtio source of randomness. Our own kernel has no driver
    /// for it, seeds itself from the processor's, and pays for finding the device.
    pub entropy_device: bool,
    /// Take back memory that the guest has freed, by a virtio balloon.
    pub balloon: bool,
    /// Give every machine a network card, also one without a network. One that is saved
    /// as a template has it in any case, so that its clones can be connected.
    pub card: bool,
    /// Give machines a device for files of the host also when there are none to share: so
    /// are those that templates are made of.
    pub shares: bool,
    /// Confine the monitor by a system-call filter once the guest runs.
    pub seccomp: bool,
}

impl MicroVmConfig {
    /// The usual settings.
    #[must_use]
    pub fn new(root: PathBuf, monitor: Vec<OsString>, kernel: Option<PathBuf>) -> Self {
        Self {
            root,
            monitor,
            kernel,
            command_line: String::new(),
            default_memory_mib: 128,
            root_disk: RootDisk::default(),
            start: StartFrom::default(),
            prefetch: Prefetch::default(),
            console: Console::default(),
            boot_timeout: None,
            entropy_device: true,
            balloon: false,
            card: false,
            shares: false,
            seccomp: true,
        }
    }
    /// Guest memory: the bundle's limit is the size of the machine. Room for the
    /// kernel beside what it leaves to the workload is not added to it.
    pub(crate) fn memory_mib(&self, bundle: &Bundle) -> Result<u32, MicroVmError> {
        let limit = bundle
            .spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.resources().as_ref()?.memory().as_ref()?.limit())
            .filter(|limit| *limit > 0);
        let Some(bytes) = limit else { return Ok(self.default_memory_mib) };
        match u32::try_from(bytes / MIB) {
            Ok(mib) if mib >= LEAST_MEMORY_MIB => Ok(mib),
            Ok(_) => Err(MicroVmError::MemoryLimit { bytes, least_mib: LEAST_MEMORY_MIB }),
            // More than any machine has: the monitor says how much there can be.
            Err(_) => Ok(u32::MAX),
        }
    }
}
