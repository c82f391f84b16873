//! What the host asks the guest to run: the runtime-spec configuration, reduced
//! to numbers and C strings on the host so that the guest has nothing to parse.

use alloc::ffi::CString;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::CStrings;

/// Payload of [`super::Kind::Start`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// The process to run.
    pub process: Process,
    /// What to build around it; `None` to join the sandbox that is there.
    pub sandbox: Option<Sandbox>,
    /// For a machine that goes on from a snapshot, and is not the only one that does.
    pub fresh: Option<Fresh>,
    /// The network to set the machine's card up for.
    pub network: Option<Network>,
}

/// A network as the machine's card sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// What the card is to be called.
    pub name: CString,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Its address.
    pub address: [u8; 4],
    /// How many leading bits of that name the network.
    pub prefix_length: u8,
    /// Where packets for other networks go.
    pub gateway: Option<[u8; 4]>,
    /// Largest packet, bytes.
    pub mtu: u16,
}

/// A small file in the writable layer: mode 0644, owned by root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedFile {
    /// Where; its directory is made when missing, what is there is replaced.
    pub path: CString,
    /// What it holds.
    pub content: Vec<u8>,
}

impl Start {
    /// Whether what the process changes is to be handed out.
    #[must_use]
    pub fn wants_changes(&self) -> bool {
        self.sandbox.as_ref().is_some_and(|sandbox| sandbox.changes)
    }
}

/// What tells a machine from the one it was saved from and from its clones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fresh {
    /// Random bytes nobody else has: from them the kernel's own randomness begins anew.
    pub entropy: [u8; 32],
    /// The host's time, seconds since 1970.
    pub seconds: i64,
    /// And nanoseconds.
    pub nanoseconds: i64,
}

/// Payload of [`super::Kind::Refresh`]: what is new to a process that runs already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// What no clone may share.
    pub fresh: Fresh,
    /// Host name; `None` to leave it.
    pub hostname: Option<CString>,
    /// What the application finds at [`super::HAND_OVER`]; nothing is put there when
    /// it is empty.
    pub hand_over: Vec<u8>,
    /// The network to set the machine's card up for.
    pub network: Option<Network>,
    /// Files to be placed.
    pub files: Vec<PlacedFile>,
}

/// Payload of [`super::Kind::Hold`]: when the process is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hold {
    /// It is.
    Now,
    /// Once it accepts TCP connections to this port of the loopback interface.
    Port(u16),
    /// Once it reads [`super::HAND_OVER`].
    HandOver,
}

/// A process (runtime-spec, "Process").
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Arguments; the first is the command, looked up in `PATH` of `env` when
    /// it has no slash.
    pub args: CStrings,
    /// Environment, as `NAME=value`.
    pub env: CStrings,
    /// Working directory, made when missing.
    pub cwd: CString,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// File mode creation mask.
    pub umask: u32,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// Capability sets.
    pub capabilities: Capabilities,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privileges: bool,
    /// Value for `/proc/self/oom_score_adj`.
    pub oom_score_adj: Option<i32>,
    /// Whether stdin carries data; `/dev/null` otherwise, or a terminal at which nobody
    /// types.
    pub stdin: bool,
    /// The streams are a terminal of this size. What it shows comes as standard output.
    pub terminal: Option<TerminalSize>,
}

/// How much a terminal shows, and payload of [`super::Kind::Resize`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// A resource limit, as `prlimit(2)` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_*`, asm-generic/resource.h.
    pub resource: u32,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit.
    pub hard: u64,
}

/// Capability sets as bit masks: bit n is capability n of linux/capability.h.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// What the process and its children can ever have.
    pub bounding: u64,
    /// What it has in force.
    pub effective: u64,
    /// What it may put in force.
    pub permitted: u64,
    /// What it may pass on through programs that inherit.
    pub inheritable: u64,
    /// What it passes on to any program.
    pub ambient: u64,
}

/// What surrounds the first process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// Host name.
    pub hostname: Option<CString>,
    /// Whether the root filesystem is read-only.
    pub read_only_root: bool,
    /// Filesystems to mount, in order.
    pub mounts: Vec<Mount>,
    /// Some are mounted from [`super::SHARES`], which is taken away afterwards.
    pub shares: bool,
    /// Device nodes to make after the mounts.
    pub devices: Vec<Device>,
    /// Symbolic links to make after the devices: target, link, target, link, …
    pub symlinks: CStrings,
    /// Files to be placed after the mounts.
    pub files: Vec<PlacedFile>,
    /// Most processes and threads the workload may have at a time.
    pub pids_limit: Option<u32>,
    /// Let processes ask for more memory than the machine has, and be killed when
    /// they use it, as behind a container's memory limit.
    pub overcommit: bool,
    /// Run a minimal init as the workload's PID 1, the workload as its child.
    pub init: bool,
    /// When the workload has ended well, write an archive of the writable layer to its
    /// standard output; its own goes to standard error then. It has an init in any case.
    pub changes: bool,
}

/// A mount, as `mount(2)` takes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Filesystem type.
    pub fstype: CString,
    /// Source.
    pub source: CString,
    /// Where; made when missing.
    pub target: CString,
    /// `MS_*`, linux/mount.h.
    pub flags: u64,
    /// Filesystem's own options.
    pub data: CString,
    /// Go on without it when the kernel does not have the filesystem.
    pub optional: bool,
    /// A file goes there: where nothing is, one is made instead of a directory.
    pub is_file: bool,
}

/// A device node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Where.
    pub path: CString,
    /// Type and permission bits, as `mknod(2)` takes them.
    pub mode: u32,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}
